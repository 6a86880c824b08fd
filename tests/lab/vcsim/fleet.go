package main

import (
	"context"
	"fmt"

	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// fleetSpecs are the machines that a fleet is copied from.
var fleetSpecs = []VMSpec{
	{CPUs: 2, MemoryMB: 4096, Firmware: "efi", GuestID: "debian12_64Guest", Power: "on", Tools: "running", CBT: true,
		Disks: thinDisks(1), NICs: []NICSpec{{Network: "VM Network", Type: "vmxnet3", IP: "192.0.2.10"}}},
	{CPUs: 4, MemoryMB: 8192, GuestID: "windows2019srv_64Guest", Power: "on", Tools: "running",
		Disks: thinDisks(2), NICs: []NICSpec{{Network: "VM Network", Type: "e1000e", IP: "192.0.2.11"}}},
	{CPUs: 8, MemoryMB: 32768, GuestID: "rhel9_64Guest", Power: "on", CBT: true,
		Disks: thinDisks(3), NICs: []NICSpec{{Network: "VM Network"}, {Network: "VM Network"}}},
	{CPUs: 1, MemoryMB: 1024, GuestID: "ubuntu64Guest", Power: "off",
		Disks: thinDisks(1), NICs: []NICSpec{{Network: "VM Network"}}},
}

const fleetFolders = 20

func thinDisks(n int) []DiskSpec {
	disks := make([]DiskSpec, n)
	for i := range disks {
		disks[i] = DiskSpec{SizeBytes: 1 << 20, Provisioning: "thin"}
	}
	return disks
}

// buildFleet adds machines for listing: a few are made as all others are, the rest is copied from those within vcsim,
// for thousands would take minutes. The copies have no files and no guest; nothing but reading works on them.
func (l *Lab) buildFleet(ctx context.Context, client *vim25.Client, finder *find.Finder, count int) error {
	var originals []*simulator.VirtualMachine
	for i := range min(count, len(fleetSpecs)) {
		spec := fleetSpecs[i]
		spec.Name, spec.Folder = fleetName(i), fleetFolder(i)
		if err := spec.complete(); err != nil {
			return err
		}
		if err := l.buildVM(ctx, client, finder, spec); err != nil {
			return err
		}
		vm, err := l.find(spec.Name)
		if err != nil {
			return err
		}
		original := l.registry().Get(vm.ref).(*simulator.VirtualMachine)
		original.Config.ExtraConfig = append(original.Config.ExtraConfig, usualExtraConfig()...)
		originals = append(originals, original)
	}
	var folders []*simulator.Folder
	for i := range min(count, fleetFolders) {
		placed, err := l.placeVM(ctx, finder, fleetFolder(i))
		if err != nil {
			return err
		}
		folder, ok := l.registry().Get(placed.Reference()).(*simulator.Folder)
		if !ok {
			return fmt.Errorf("no folder %s", placed.Reference())
		}
		folders = append(folders, folder)
	}
	for i := len(originals); i < count; i++ {
		l.copyVM(originals[i%len(originals)], &folders[i%len(folders)].Folder, fleetName(i))
	}
	return nil
}

func fleetName(i int) string   { return fmt.Sprintf("fleet-%05d", i) }
func fleetFolder(i int) string { return fmt.Sprintf("fleet/%02d", i%fleetFolders) }

func (l *Lab) copyVM(original *simulator.VirtualMachine, folder *mo.Folder, name string) {
	vm := &simulator.VirtualMachine{VirtualMachine: original.VirtualMachine}
	config := *original.Config
	config.Name, config.Uuid, config.InstanceUuid = name, stableUUID("42", name), stableUUID("50", name)
	config.Files.VmPathName = fmt.Sprintf("[%s] %s/%s.vmx", datastoreName, name, name)
	config.Hardware.Device = copyDevices(original.Config.Hardware.Device, name)
	vm.Name, vm.Config, vm.Self = name, &config, types.ManagedObjectReference{}
	l.registry().PutEntity(folder, vm)
	folder.ChildEntity = append(folder.ChildEntity, vm.Self)
}

// copyDevices gives a copied machine disk files of its own, by name.
func copyDevices(devices []types.BaseVirtualDevice, name string) []types.BaseVirtualDevice {
	copies := make([]types.BaseVirtualDevice, len(devices))
	for i, device := range devices {
		copies[i] = device
		disk, isDisk := device.(*types.VirtualDisk)
		if !isDisk {
			continue
		}
		own := *disk
		if flat, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
			backing := *flat
			backing.FileName = fmt.Sprintf("[%s] %s/disk%d.vmdk", datastoreName, name, disk.Key)
			backing.Uuid = stableUUID("60", fmt.Sprintf("%s/%d", name, disk.Key))
			own.Backing = &backing
		}
		copies[i] = &own
	}
	return copies
}

// usualExtraConfig is about what ESXi writes into every machine's file, so that answers are as long as real ones.
func usualExtraConfig() []types.BaseOptionValue {
	settings := [][2]string{
		{"nvram", "machine.nvram"}, {"svga.present", "TRUE"}, {"pciBridge0.present", "TRUE"},
		{"pciBridge4.present", "TRUE"}, {"pciBridge4.virtualDev", "pcieRootPort"}, {"pciBridge4.functions", "8"},
		{"pciBridge5.present", "TRUE"}, {"pciBridge5.virtualDev", "pcieRootPort"}, {"pciBridge5.functions", "8"},
		{"hpet0.present", "TRUE"}, {"disk.EnableUUID", "TRUE"}, {"sched.cpu.latencySensitivity", "normal"},
		{"tools.guest.desktop.autolock", "TRUE"}, {"tools.remindInstall", "TRUE"}, {"viv.moid", "52 4d 6c"},
		{"vmware.tools.internalversion", "12352"}, {"vmware.tools.requiredversion", "12352"},
		{"migrate.hostLogState", "none"}, {"migrate.migrationId", "0"}, {"migrate.hostLog", "machine-1a2b3c4d.hlog"},
		{"guestinfo.vmtools.versionString", "12.3.5"}, {"guestinfo.vmtools.versionNumber", "12352"},
		{"guestInfo.detailed.data", "architecture='X86' bitness='64' distroName='Debian GNU/Linux' distroVersion='12'"},
		{"softPowerOff", "FALSE"}, {"toolsInstallManager.updateCounter", "1"}, {"scsi0:0.ctkEnabled", "TRUE"},
		{"ethernet0.pciSlotNumber", "192"}, {"scsi0.pciSlotNumber", "160"}, {"monitor.phys_bits_used", "45"},
		{"cpuid.coresPerSocket.cookie", "1"}, {"numa.autosize.vcpu.maxPerVirtualNode", "2"},
		{"numa.autosize.cookie", "20012"}, {"sched.swap.derivedName", "/vmfs/volumes/65a1f0c2/machine/machine-1.vswp"},
	}
	options := make([]types.BaseOptionValue, len(settings))
	for i, setting := range settings {
		options[i] = &types.OptionValue{Key: setting[0], Value: setting[1]}
	}
	return options
}
