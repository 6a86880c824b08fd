package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	"migratekit.invalid/lab/vcsim/blockdisk"
)

// adoptKeys notes which device shows which disk: vcsim may have given another key than we asked for.
func (l *Lab) adoptKeys(vm *vmState) error {
	sim, ok := l.registry().Get(vm.ref).(*simulator.VirtualMachine)
	if !ok {
		return fmt.Errorf("%w: %s", errNoVM, vm.ref)
	}
	byFile := map[string]int32{}
	for _, d := range virtualDisks(sim.Config.Hardware.Device) {
		byFile[fileName(d)] = d.Key
	}
	for _, d := range vm.disks {
		d.key = byFile[datastorePath(vm, d.Base().Name)]
		if d.key == 0 {
			return fmt.Errorf("no device shows %s", d.Base().Name)
		}
	}
	return nil
}

func virtualDisks(devices []types.BaseVirtualDevice) []*types.VirtualDisk {
	var disks []*types.VirtualDisk
	for _, d := range object.VirtualDeviceList(devices).SelectByType((*types.VirtualDisk)(nil)) {
		disks = append(disks, d.(*types.VirtualDisk))
	}
	return disks
}

func fileName(disk *types.VirtualDisk) string {
	if b, ok := disk.Backing.(types.BaseVirtualDeviceFileBackingInfo); ok {
		return b.GetVirtualDeviceFileBackingInfo().FileName
	}
	return ""
}

// refresh writes what the lab knows into the properties a client sees: the disks' backings and capacities, of the
// machine and of each of its snapshots. The machine's lock is held on behalf of ctx, or is free.
func (l *Lab) refresh(ctx *simulator.Context, vm *vmState) {
	sim, ok := l.registry().Get(vm.ref).(*simulator.VirtualMachine)
	if !ok {
		return
	}
	ctx.WithLock(sim, func() {
		liveIDs := l.standing().LiveChangeIDs
		vm.mu.RLock()
		cbt := vm.cbt
		live := showDisks(vm, sim.Config.Hardware.Device, nil, liveIDs)
		snapshots := map[*simulator.VirtualMachineSnapshot][]types.BaseVirtualDevice{}
		for ref, cut := range vm.points {
			if snap, ok := l.registry().Get(ref).(*simulator.VirtualMachineSnapshot); ok {
				snapshots[snap] = showDisks(vm, snap.Config.Hardware.Device, cut, true)
			}
		}
		vm.mu.RUnlock()

		ctx.Update(sim, []types.PropertyChange{
			{Name: "config.hardware.device", Val: live},
			{Name: "config.changeTrackingEnabled", Val: cbt},
		})
		if l.limited() {
			l.showFiles(ctx, vm, sim)
		}
		for snap, devices := range snapshots {
			ctx.WithLock(snap, func() {
				ctx.Update(snap, []types.PropertyChange{{Name: "config.hardware.device", Val: devices}})
			})
		}
	})
}

// showDisks copies the list of devices with our disks as they are, at a snapshot or (cut is nil) now, with their change
// ids or without. Devices are
// copied and not changed in place, for an answer to a client may just be printing them.
func showDisks(vm *vmState, devices []types.BaseVirtualDevice, cut points, ids bool) []types.BaseVirtualDevice {
	shown := make([]types.BaseVirtualDevice, len(devices))
	for i, device := range devices {
		shown[i] = device
		old, ok := device.(*types.VirtualDisk)
		if !ok {
			continue
		}
		disk := vm.disk(old.Key)
		backing, flat := old.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
		if disk == nil || !flat {
			continue
		}
		layer, changeID := disk.Live(), disk.ChangeID()
		if cut != nil {
			if cut[old.Key] == nil {
				continue
			}
			layer, changeID = cut[old.Key].Layer(), cut[old.Key].ChangeID()
		}
		if !ids {
			changeID = ""
		}
		fresh := *old
		fresh.CapacityInBytes, fresh.CapacityInKB = disk.Capacity(), disk.Capacity()/1024
		if old.DeviceInfo != nil {
			info := *old.DeviceInfo.GetDescription()
			info.Summary = summaryOf(disk.Capacity())
			fresh.DeviceInfo = &info
		}
		fresh.Backing = showLayer(vm, backing, layer, changeID)
		shown[i] = &fresh
	}
	return shown
}

// showLayer is the backing for a layer, with those below it as its parents.
func showLayer(vm *vmState, like *types.VirtualDiskFlatVer2BackingInfo, layer *blockdisk.Layer, changeID string) *types.VirtualDiskFlatVer2BackingInfo {
	b := *like
	b.FileName, b.ChangeId, b.Parent, b.DeltaDiskFormat = datastorePath(vm, layer.Name), changeID, nil, ""
	if layer.Parent() != nil {
		b.DeltaDiskFormat = string(types.VirtualDiskDeltaDiskFormatRedoLogFormat)
		b.Parent = showLayer(vm, like, layer.Parent(), "")
	}
	return &b
}

// syncDisks takes in disks that a client added and forgets those it removed; the machine's lock is held.
func (l *Lab) syncDisks(vm *vmState, sim *simulator.VirtualMachine) error {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	var disks []*vmDisk
	for _, device := range virtualDisks(sim.Config.Hardware.Device) {
		if known := vm.disk(device.Key); known != nil {
			disks = append(disks, known)
			continue
		}
		var path object.DatastorePath
		backing, flat := device.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
		if !flat || !path.FromString(backing.FileName) || filepath.Dir(path.Path) != vm.dir {
			continue // not a file of this machine: vcsim's alone
		}
		stem := strings.TrimSuffix(filepath.Base(path.Path), ".vmdk")
		thin := backing.ThinProvisioned != nil && *backing.ThinProvisioned
		disk, err := blockdisk.Create(filepath.Join(vm.store.dir, vm.dir), stem, device.CapacityInBytes, thin, "")
		if err != nil {
			return err
		}
		disk.Track(vm.cbt && !vm.pending)
		disks = append(disks, &vmDisk{Disk: disk, key: device.Key})
	}
	for _, d := range vm.disks {
		if !containsDisk(disks, d) {
			d.Close()
		}
	}
	vm.disks = disks
	return nil
}

func containsDisk(disks []*vmDisk, disk *vmDisk) bool {
	for _, d := range disks {
		if d == disk {
			return true
		}
	}
	return false
}
