package main

import (
	"path/filepath"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// takeFile takes the file of a new snapshot out of vcsim's hands and returns its path. vcsim remembers it by a key that
// it gives to another file soon, and removing the snapshot would then delete, for example, a disk.
func (l *Lab) takeFile(sim *simulator.VirtualMachine, snapshot types.ManagedObjectReference, dir string) string {
	var file string
	layout := sim.LayoutEx.Snapshot
	for i := range layout {
		if layout[i].Key != snapshot {
			continue
		}
		for _, f := range sim.LayoutEx.File {
			var path object.DatastorePath
			if f.Key == layout[i].DataKey && path.FromString(f.Name) {
				file = filepath.Join(dir, path.Path)
			}
		}
		layout[i].DataKey, layout[i].MemoryKey = -1, -1
	}
	return file
}
