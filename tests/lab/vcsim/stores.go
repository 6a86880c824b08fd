package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/types"
)

// vsanName is the second datastore. It is there if a machine of the inventory is on it.
const vsanName = "vsan01"

// store is a datastore: its name, and where its files are.
type store struct {
	name, dir string
	objects   bool // disks are objects: the browser has descriptors only
}

// storeOf is where a machine's files go, and the space that its deltas take of; only the first datastore can be full.
func (l *Lab) storeOf(spec VMSpec) (*store, *space) {
	if spec.Datastore == vsanName {
		return l.vsan, new(space)
	}
	return &store{name: datastoreName, dir: l.store}, &l.space
}

// storeNamed is a datastore by its name, nil where there is none.
func (l *Lab) storeNamed(name string) *store {
	switch {
	case name == datastoreName:
		return &store{name: datastoreName, dir: l.store}
	case name == vsanName:
		return l.vsan
	}
	return nil
}

// makeDir makes the folder for the files: NAME, or NAME_1 … if another machine of that name has taken it. On vSAN it
// has the name of an object.
func (s *store) makeDir(spec VMSpec) (string, error) {
	name := fileNames.Replace(spec.Name)
	for i := 0; ; i++ {
		dir := name
		if i > 0 {
			dir = fmt.Sprintf("%s_%d", name, i)
		}
		if s.objects {
			dir = stableUUID("5f", dir)
		}
		err := os.Mkdir(filepath.Join(s.dir, dir), 0o700)
		if !errors.Is(err, os.ErrExist) {
			return dir, err
		}
	}
}

// buildVSAN adds the vSAN datastore, which all hosts share.
func (l *Lab) buildVSAN(ctx context.Context, finder *find.Finder) error {
	l.vsan = &store{name: vsanName, dir: filepath.Join(filepath.Dir(l.store), vsanName), objects: true}
	ref, err := l.mount(ctx, finder, l.vsan)
	if err != nil {
		return err
	}
	made, ok := l.registry().Get(ref).(*simulator.Datastore)
	if !ok {
		return fmt.Errorf("no datastore %s", ref)
	}
	yes, info := true, *made.Info.GetDatastoreInfo()
	own := l.model.Service.Context
	own.WithLock(made, func() {
		own.Update(made, []types.PropertyChange{
			{Name: "summary.type", Val: string(types.HostFileSystemVolumeFileSystemTypeVsan)},
			{Name: "summary.multipleHostAccess", Val: yes},
			{Name: "info", Val: &types.VsanDatastoreInfo{DatastoreInfo: info, MembershipUuid: stableUUID("52", vsanName)}},
		})
	})
	return nil
}

// mount makes a datastore of a folder on every host.
func (l *Lab) mount(ctx context.Context, finder *find.Finder, s *store) (types.ManagedObjectReference, error) {
	var ref types.ManagedObjectReference
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return ref, err
	}
	// Snapshots live in memory only, so files of an earlier run cannot be taken up again.
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return ref, err
	}
	if len(entries) > 0 {
		return ref, fmt.Errorf("datastore %s is not empty", s.dir)
	}
	hosts, err := finder.HostSystemList(ctx, "*/*")
	if err != nil {
		return ref, err
	}
	for _, host := range hosts {
		system, err := host.ConfigManager().DatastoreSystem(ctx)
		if err != nil {
			return ref, err
		}
		made, err := system.CreateLocalDatastore(ctx, s.name, s.dir)
		if err != nil {
			return ref, err
		}
		if ref.Value == "" { // later hosts mount the first one's; vcsim returns no reference for them
			ref = made.Reference()
		}
	}
	return ref, nil
}

// buildSnapshots takes a machine's snapshots, each followed by what its guest then writes.
func (l *Lab) buildSnapshots(ctx context.Context, client *vim25.Client, vm *vmState) error {
	for i, spec := range vm.spec.Snapshots {
		task, err := object.NewVirtualMachine(client, vm.ref).CreateSnapshot(ctx, spec.Name, "", false, false)
		if err != nil {
			return err
		}
		if err := task.Wait(ctx); err != nil {
			return err
		}
		source := rand.NewChaCha8([32]byte{byte(i + 1)})
		for _, w := range spec.Writes {
			data := make([]byte, w.Length)
			_, _ = source.Read(data)
			if err := vm.write(vm.disks[w.Disk], data, w.Offset); err != nil {
				return err
			}
		}
	}
	return nil
}

// write is one of the guest's, before anybody looks.
func (vm *vmState) write(disk *vmDisk, data []byte, offset int64) error {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	defer vm.settle()
	return disk.WriteAt(data, offset)
}

// isExtent says whether a file has a disk's data, and not its description.
func isExtent(name string) bool {
	return strings.HasSuffix(name, "-flat.vmdk") || strings.HasSuffix(name, "-delta.vmdk")
}
