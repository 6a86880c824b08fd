package main

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// ReconfigVMTask follows change tracking and the disks; the rest is vcsim's.
func (m *machine) ReconfigVMTask(ctx *simulator.Context, req *types.ReconfigVM_Task) soap.HasFault {
	return &methods.ReconfigVM_TaskBody{Res: &types.ReconfigVM_TaskResponse{
		Returnval: m.lab.startTask(ctx, m.vm, "reconfigVm", "ReconfigVM_Task", func() (types.AnyType, types.BaseMethodFault) {
			return nil, m.reconfigure(ctx, req)
		}),
	}}
}

func (m *machine) reconfigure(ctx *simulator.Context, req *types.ReconfigVM_Task) types.BaseMethodFault {
	track := req.Spec.ChangeTrackingEnabled
	if track != nil && *track && !m.vm.cbtEnabled() && m.vm.hasSnapshots() {
		return invalidState("Change tracking cannot be switched on while the virtual machine has snapshots.")
	}
	sizes, fault := m.newSizes(req.Spec.DeviceChange)
	if fault != nil {
		return fault
	}
	keys, fault := m.newKeys(req.Spec.DeviceChange)
	if fault != nil {
		return fault
	}
	_, fault = m.lab.inner(m.VirtualMachine.ReconfigVMTask(ctx, req))
	if fault == nil {
		m.move(ctx, keys)
		fault = m.resize(sizes)
	}
	if fault == nil {
		if err := m.lab.syncDisks(m.vm, m.VirtualMachine); err != nil {
			fault = diskFault(m.vm, err)
		}
	}
	if fault == nil && track != nil {
		m.vm.track(*track)
	}
	m.lab.refresh(ctx, m.vm)
	return fault
}

func (vm *vmState) cbtEnabled() bool {
	vm.mu.RLock()
	defer vm.mu.RUnlock()
	return vm.cbt
}

// newKeys are the disks that shall move to another slot of a SCSI controller: the key goes with the slot.
func (m *machine) newKeys(changes []types.BaseVirtualDeviceConfigSpec) (map[int32]int32, types.BaseMethodFault) {
	keys := map[int32]int32{}
	m.vm.mu.RLock()
	defer m.vm.mu.RUnlock()
	for i, change := range changes {
		spec := change.GetVirtualDeviceConfigSpec()
		device, ok := spec.Device.(*types.VirtualDisk)
		edits := spec.Operation == types.VirtualDeviceConfigSpecOperationEdit
		if !ok || !edits || device.UnitNumber == nil || device.ControllerKey < 1000 || device.ControllerKey > 1003 {
			continue
		}
		key := 2000 + (device.ControllerKey-1000)*16 + *device.UnitNumber
		if key == device.Key || m.vm.disk(device.Key) == nil {
			continue
		}
		if len(m.vm.points) > 0 {
			fault := new(types.InvalidDeviceOperation)
			fault.DeviceIndex, fault.Property = int32(i), "virtualDeviceSpec.device.unitNumber"
			return nil, fault
		}
		keys[device.Key] = key
	}
	return keys, nil
}

func (m *machine) move(ctx *simulator.Context, keys map[int32]int32) {
	if len(keys) == 0 {
		return
	}
	ctx.WithLock(m.VirtualMachine, func() {
		devices := append([]types.BaseVirtualDevice(nil), m.VirtualMachine.Config.Hardware.Device...)
		for i, device := range devices {
			if disk, ok := device.(*types.VirtualDisk); ok && keys[disk.Key] != 0 {
				moved := *disk
				moved.Key = keys[disk.Key]
				devices[i] = &moved
			}
		}
		m.VirtualMachine.Config.Hardware.Device = devices
	})
	m.vm.mu.Lock()
	defer m.vm.mu.Unlock()
	for _, d := range m.vm.disks {
		if keys[d.key] != 0 {
			d.key = keys[d.key]
		}
	}
}

// newSizes are the disks that shall grow, by device key. It refuses what vSphere refuses: to make one smaller, or to
// touch the size while there are snapshots.
func (m *machine) newSizes(changes []types.BaseVirtualDeviceConfigSpec) (map[int32]int64, types.BaseMethodFault) {
	sizes := map[int32]int64{}
	m.vm.mu.RLock()
	defer m.vm.mu.RUnlock()
	for i, change := range changes {
		spec := change.GetVirtualDeviceConfigSpec()
		device, ok := spec.Device.(*types.VirtualDisk)
		if !ok || spec.Operation != types.VirtualDeviceConfigSpecOperationEdit {
			continue
		}
		disk := m.vm.disk(device.Key)
		if disk == nil {
			continue
		}
		size := askedSize(device, disk.Capacity())
		if size == disk.Capacity() {
			continue
		}
		if size < disk.Capacity() || len(m.vm.points) > 0 {
			fault := new(types.InvalidDeviceOperation)
			fault.DeviceIndex, fault.Property = int32(i), "virtualDeviceSpec.device.capacityInBytes"
			return nil, fault
		}
		sizes[device.Key] = size
	}
	return sizes, nil
}

// askedSize reads the wanted size from whichever of its two fields the client changed.
func askedSize(device *types.VirtualDisk, now int64) int64 {
	switch {
	case device.CapacityInBytes > 0 && device.CapacityInBytes != now:
		return device.CapacityInBytes
	case device.CapacityInKB > 0 && device.CapacityInKB != now/1024:
		return device.CapacityInKB * 1024
	}
	return now
}

func (m *machine) resize(sizes map[int32]int64) types.BaseMethodFault {
	m.vm.mu.Lock()
	var failed error
	for key, size := range sizes {
		if err := m.vm.disk(key).Resize(size); err != nil {
			failed = err
		}
	}
	m.vm.mu.Unlock()
	if failed != nil {
		return diskFault(m.vm, failed)
	}
	return nil
}
