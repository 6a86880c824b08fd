package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/types"

	"migratekit.invalid/lab/vcsim/blockdisk"
)

const scsiKey, firstDiskKey = 1000, 2000

// unitOf is the place of a disk on the controller, which itself sits at 7.
func unitOf(i int) int32 {
	if i >= 7 {
		i++
	}
	return int32(i)
}

func diskKeys(n int) []int32 {
	keys := make([]int32, n)
	for i := range keys {
		keys[i] = firstDiskKey + unitOf(i)
	}
	return keys
}

func splitPath(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}

func (l *Lab) buildVM(ctx context.Context, client *vim25.Client, finder *find.Finder, spec VMSpec) error {
	on, taken := l.storeOf(spec)
	dir, err := on.makeDir(spec)
	if err != nil {
		return err
	}
	vm := &vmState{
		store: on, space: taken, locks: l.locks,
		dir: dir, spec: spec, name: escaped(spec.Name), cbt: spec.CBT,
		points: map[types.ManagedObjectReference]points{},
		vmsn:   map[types.ManagedObjectReference]string{},
	}
	// The files come first: vcsim would make empty ones, of whole kilobytes.
	for i, d := range spec.Disks {
		disk, err := blockdisk.Create(filepath.Join(on.dir, dir), fmt.Sprintf("disk%d", i+1), d.SizeBytes, d.Provisioning == "thin", d.Image)
		if err != nil {
			return err
		}
		disk.Track(spec.CBT)
		vm.disks = append(vm.disks, &vmDisk{Disk: disk})
	}
	if vm.ref, err = l.createVM(ctx, finder, vm); err != nil {
		return err
	}
	if err := l.adoptKeys(vm); err != nil {
		return err
	}
	l.put(vm)
	l.nameVM(vm)
	l.dressGuest(vm)
	l.refresh(l.model.Service.Context, vm)
	if spec.Power != "on" {
		return l.buildSnapshots(ctx, client, vm)
	}
	task, err := object.NewVirtualMachine(client, vm.ref).PowerOn(ctx)
	if err != nil {
		return err
	}
	if err := task.Wait(ctx); err != nil {
		return err
	}
	return l.buildSnapshots(ctx, client, vm)
}

// nameVM gives a machine the name that it shall have. vcsim doubles the devices of one whose name has to be escaped.
func (l *Lab) nameVM(vm *vmState) {
	sim, ok := l.registry().Get(vm.ref).(*simulator.VirtualMachine)
	if !ok || sim.Name == escaped(vm.spec.Name) {
		return
	}
	ctx := l.model.Service.Context
	name := escaped(vm.spec.Name)
	ctx.WithLock(sim, func() {
		ctx.Update(sim, []types.PropertyChange{
			{Name: "name", Val: name}, {Name: "config.name", Val: name}, {Name: "summary.config.name", Val: name},
		})
	})
}

func (l *Lab) createVM(ctx context.Context, finder *find.Finder, vm *vmState) (types.ManagedObjectReference, error) {
	var none types.ManagedObjectReference
	folder, err := l.placeVM(ctx, finder, vm.spec.Folder)
	if err != nil {
		return none, err
	}
	pool, err := finder.ResourcePool(ctx, "*/Resources")
	if err != nil {
		return none, err
	}
	devices, err := vmDevices(ctx, finder, vm)
	if err != nil {
		return none, err
	}
	change, err := devices.ConfigSpec(types.VirtualDeviceConfigSpecOperationAdd)
	if err != nil {
		return none, err
	}
	for _, c := range change {
		c.GetVirtualDeviceConfigSpec().FileOperation = "" // the files are there already
	}
	config := types.VirtualMachineConfigSpec{
		Name: fileNames.Replace(vm.spec.Name), GuestId: vm.spec.GuestID, NumCPUs: vm.spec.CPUs, MemoryMB: vm.spec.MemoryMB,
		Firmware: vm.spec.Firmware, Version: vm.spec.HardwareVersion, ChangeTrackingEnabled: &vm.spec.CBT,
		Uuid: stableUUID("42", vm.dir), InstanceUuid: stableUUID("50", vm.dir),
		Files:        &types.VirtualMachineFileInfo{VmPathName: datastorePath(vm, fileNames.Replace(vm.spec.Name)+".vmx")},
		DeviceChange: change,
	}
	var host *object.HostSystem
	if vm.spec.Host != nil {
		hosts, err := finder.HostSystemList(ctx, "*/*")
		if err != nil {
			return none, err
		}
		host = hosts[*vm.spec.Host]
	}
	task, err := folder.CreateVM(ctx, config, pool, host)
	if err != nil {
		return none, err
	}
	info, err := task.WaitForResult(ctx, nil)
	if err != nil {
		return none, err
	}
	return info.Result.(types.ManagedObjectReference), nil
}

// vmDevices are the controller, the disks and the network cards, with the keys that ESXi would give them.
func vmDevices(ctx context.Context, finder *find.Finder, vm *vmState) (object.VirtualDeviceList, error) {
	var devices object.VirtualDeviceList
	if len(vm.spec.Disks) > 0 {
		scsi := &types.ParaVirtualSCSIController{}
		scsi.Key, scsi.SharedBus, scsi.ScsiCtlrUnitNumber = scsiKey, types.VirtualSCSISharingNoSharing, 7
		scsi.ControllerKey, scsi.UnitNumber = 100, types.NewInt32(3)
		scsi.Device = diskKeys(len(vm.spec.Disks))
		devices = append(devices, scsi)
	}
	for i, d := range vm.spec.Disks {
		unit := unitOf(i)
		disk := &types.VirtualDisk{CapacityInBytes: d.SizeBytes, CapacityInKB: d.SizeBytes / 1024}
		disk.Key, disk.ControllerKey, disk.UnitNumber = firstDiskKey+unit, scsiKey, &unit
		thin, eager := d.Provisioning == "thin", d.Provisioning == "eager"
		disk.Backing = &types.VirtualDiskFlatVer2BackingInfo{
			VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{
				FileName: datastorePath(vm, fmt.Sprintf("disk%d.vmdk", i+1)),
			},
			DiskMode: string(types.VirtualDiskModePersistent), ThinProvisioned: &thin, EagerlyScrub: &eager,
			Uuid: strings.ToUpper(stableUUID("60", fmt.Sprintf("%s/%d", vm.dir, i))),
		}
		label := d.Label
		setDefault(&label, fmt.Sprintf("Hard disk %d", i+1))
		disk.DeviceInfo = &types.Description{Label: label}
		devices = append(devices, disk)
	}
	for i, n := range vm.spec.NICs {
		network, err := finder.Network(ctx, n.Network)
		if err != nil {
			return nil, err
		}
		backing, err := network.EthernetCardBackingInfo(ctx)
		if err != nil {
			return nil, err
		}
		nic, err := devices.CreateEthernetCard(n.Type, backing)
		if err != nil {
			return nil, err
		}
		card := nic.(types.BaseVirtualEthernetCard).GetVirtualEthernetCard()
		card.Key, card.ControllerKey, card.UnitNumber = int32(4000+i), 100, types.NewInt32(int32(7+i))
		card.DeviceInfo = &types.Description{Label: fmt.Sprintf("Network adapter %d", i+1)}
		card.AddressType = string(types.VirtualEthernetCardMacTypeAssigned)
		if n.MAC != "" {
			card.AddressType, card.MacAddress = string(types.VirtualEthernetCardMacTypeManual), n.MAC
		}
		devices = append(devices, nic)
	}
	return devices, nil
}

func datastorePath(vm *vmState, file string) string {
	return fmt.Sprintf("[%s] %s/%s", vm.store.name, vm.dir, file)
}

// stableUUID is the same in every run, with the first byte that VMware uses for the kind of thing.
func stableUUID(first, of string) string {
	h := fmt.Sprintf("%x", sha256.Sum256([]byte(first+of)))
	return fmt.Sprintf("%s%s-%s-%s-%s-%s", first, h[2:8], h[8:12], h[12:16], h[16:20], h[20:32])
}
