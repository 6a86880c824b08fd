package main

import (
	"path"
	"slices"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	"migratekit.invalid/lab/vcsim/blockdisk"
)

// firstFileKey keeps the files of disks apart from those that vcsim numbers.
const firstFileKey = 100_000

// layout is how layoutEx lists the disks of a machine.
type layout struct {
	vm    *vmState
	files []types.VirtualMachineFileLayoutExFileInfo
	keys  map[*blockdisk.Layer][]int32
}

// showFiles lists the files of a machine's disks with what they take on the datastore, now and at each snapshot. The
// machine's lock is held on behalf of ctx.
func (l *Lab) showFiles(ctx *simulator.Context, vm *vmState, sim *simulator.VirtualMachine) {
	if sim.LayoutEx == nil {
		return
	}
	shown := *sim.LayoutEx
	vm.mu.RLock()
	lay := &layout{vm: vm, keys: map[*blockdisk.Layer][]int32{}}
	shown.Disk = nil
	for _, d := range vm.disks {
		for _, layer := range d.Layers() {
			lay.add(d, layer)
		}
		shown.Disk = append(shown.Disk, lay.chain(d, d.Live()))
	}
	shown.Snapshot = slices.Clone(shown.Snapshot)
	for i := range shown.Snapshot {
		shown.Snapshot[i].Disk = nil
		for _, d := range vm.disks {
			if point := vm.points[shown.Snapshot[i].Key][d.key]; point != nil {
				shown.Snapshot[i].Disk = append(shown.Snapshot[i].Disk, lay.chain(d, point.Layer()))
			}
		}
	}
	vm.mu.RUnlock()
	committed := int64(0)
	for _, file := range shown.File {
		if file.Key < firstFileKey && path.Ext(file.Name) != ".vmdk" {
			lay.files = append(lay.files, file)
		}
	}
	for _, file := range lay.files {
		committed += file.Size
	}
	shown.File, shown.Timestamp = lay.files, time.Now()
	changes := []types.PropertyChange{{Name: "layoutEx", Val: &shown}}
	if sim.Summary.Storage != nil {
		storage := *sim.Summary.Storage
		storage.Committed, storage.Timestamp = committed, time.Now()
		changes = append(changes, types.PropertyChange{Name: "summary.storage", Val: &storage})
	}
	ctx.Update(sim, changes)
}

// add lists the two files of a layer: what describes it, and what has its data.
func (lay *layout) add(d *vmDisk, layer *blockdisk.Layer) {
	accessible := true
	for _, file := range []struct {
		name, kind string
		size       int64
	}{{layer.Name, "diskDescriptor", 512}, {layer.Data(), "diskExtent", d.Allocated(layer)}} {
		key := int32(firstFileKey + len(lay.files))
		lay.files = append(lay.files, types.VirtualMachineFileLayoutExFileInfo{
			Key: key, Name: datastorePath(lay.vm, file.name), Type: file.kind, Size: file.size, UniqueSize: file.size, Accessible: &accessible,
		})
		lay.keys[layer] = append(lay.keys[layer], key)
	}
}

// chain lists the layers of a disk from the base on.
func (lay *layout) chain(d *vmDisk, top *blockdisk.Layer) types.VirtualMachineFileLayoutExDiskLayout {
	disk := types.VirtualMachineFileLayoutExDiskLayout{Key: d.key}
	for layer := top; layer != nil; layer = layer.Parent() {
		disk.Chain = append(disk.Chain, types.VirtualMachineFileLayoutExDiskUnit{FileKey: lay.keys[layer]})
	}
	slices.Reverse(disk.Chain)
	return disk
}
