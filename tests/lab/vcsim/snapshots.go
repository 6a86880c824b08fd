package main

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// CreateSnapshotTask cuts the disks. The snapshot's configuration is vcsim's copy of the machine's from before
// the cut, so it names the frozen files and carries the change ids of that moment, as in vSphere.
func (m *machine) CreateSnapshotTask(ctx *simulator.Context, req *types.CreateSnapshot_Task) soap.HasFault {
	req.Name = pathEscapes.Replace(req.Name)
	return &methods.CreateSnapshot_TaskBody{Res: &types.CreateSnapshot_TaskResponse{
		Returnval: m.lab.startTask(ctx, m.vm, "createSnapshot", "CreateSnapshot_Task", func() (types.AnyType, types.BaseMethodFault) {
			return m.createSnapshot(ctx, func() soap.HasFault { return m.VirtualMachine.CreateSnapshotTask(ctx, req) })
		}),
	}}
}

// CreateSnapshotExTask is the same with a quiesce specification.
func (m *machine) CreateSnapshotExTask(ctx *simulator.Context, req *types.CreateSnapshotEx_Task) soap.HasFault {
	req.Name = pathEscapes.Replace(req.Name)
	return &methods.CreateSnapshotEx_TaskBody{Res: &types.CreateSnapshotEx_TaskResponse{
		Returnval: m.lab.startTask(ctx, m.vm, "createSnapshotEx", "CreateSnapshotEx_Task", func() (types.AnyType, types.BaseMethodFault) {
			return m.createSnapshot(ctx, func() soap.HasFault { return m.VirtualMachine.CreateSnapshotExTask(ctx, req) })
		}),
	}}
}

func (m *machine) createSnapshot(ctx *simulator.Context, create func() soap.HasFault) (types.AnyType, types.BaseMethodFault) {
	cut, err := m.vm.freeze()
	if err != nil {
		return nil, diskFault(m.vm, err)
	}
	result, fault := m.lab.inner(create())
	if fault != nil {
		m.vm.discard(cut)
	} else {
		ref := result.(types.ManagedObjectReference)
		m.vm.keep(ref, cut, m.lab.takeFile(m.VirtualMachine, ref, m.vm.store.dir))
	}
	m.lab.refresh(ctx, m.vm)
	return result, fault
}

// RemoveAllSnapshotsTask also consolidates.
func (m *machine) RemoveAllSnapshotsTask(ctx *simulator.Context, req *types.RemoveAllSnapshots_Task) soap.HasFault {
	return &methods.RemoveAllSnapshots_TaskBody{Res: &types.RemoveAllSnapshots_TaskResponse{
		Returnval: m.lab.startTask(ctx, m.vm, "removeAllSnapshots", "RemoveAllSnapshots_Task", func() (types.AnyType, types.BaseMethodFault) {
			var all []types.ManagedObjectReference
			if m.Snapshot != nil {
				all = treeRefs(m.Snapshot.RootSnapshotList)
			}
			if _, fault := m.lab.inner(m.VirtualMachine.RemoveAllSnapshotsTask(ctx, req)); fault != nil {
				return nil, fault
			}
			return nil, m.lab.removed(ctx, m.vm, "RemoveAllSnapshots_Task", all, req.Consolidate)
		}),
	}}
}

// RevertToCurrentSnapshotTask takes the disks back.
func (m *machine) RevertToCurrentSnapshotTask(ctx *simulator.Context, req *types.RevertToCurrentSnapshot_Task) soap.HasFault {
	if m.Snapshot == nil || m.Snapshot.CurrentSnapshot == nil {
		return m.VirtualMachine.RevertToCurrentSnapshotTask(ctx, req) // its fault is the right one
	}
	return &methods.RevertToCurrentSnapshot_TaskBody{Res: &types.RevertToCurrentSnapshot_TaskResponse{
		Returnval: m.lab.startTask(ctx, m.vm, "revertToCurrentSnapshot", "RevertToCurrentSnapshot_Task", func() (types.AnyType, types.BaseMethodFault) {
			if m.Snapshot == nil || m.Snapshot.CurrentSnapshot == nil {
				return nil, new(types.NotFound)
			}
			current := *m.Snapshot.CurrentSnapshot
			if _, fault := m.lab.inner(m.VirtualMachine.RevertToCurrentSnapshotTask(ctx, req)); fault != nil {
				return nil, fault
			}
			return nil, m.lab.reverted(ctx, m.vm, m.VirtualMachine, current, req.SuppressPowerOn)
		}),
	}}
}

// ConsolidateVMDisksTask merges what removed snapshots have left; as a rule that is nothing.
func (m *machine) ConsolidateVMDisksTask(ctx *simulator.Context, _ *types.ConsolidateVMDisks_Task) soap.HasFault {
	return &methods.ConsolidateVMDisks_TaskBody{Res: &types.ConsolidateVMDisks_TaskResponse{
		Returnval: m.lab.startTask(ctx, m.vm, "consolidateVMDisks", "ConsolidateVMDisks_Task", func() (types.AnyType, types.BaseMethodFault) {
			if file := m.lab.locked(m.vm, m.vm.leftOver); file != "" {
				return nil, fileLocked(file)
			}
			err := m.vm.consolidate()
			m.lab.refresh(ctx, m.vm)
			if err != nil {
				return nil, diskFault(m.vm, err)
			}
			m.lab.needsConsolidation(ctx, m.vm, false)
			return nil, nil
		}),
	}}
}

// RemoveSnapshotTask consolidates too, and unlike vcsim forgets the children that were removed along with it.
func (s *snapshot) RemoveSnapshotTask(ctx *simulator.Context, req *types.RemoveSnapshot_Task) soap.HasFault {
	do := func() (types.AnyType, types.BaseMethodFault) {
		sim, gone := s.owner()
		if gone != nil { // another task was faster; vcsim would crash
			return nil, gone
		}
		node, parent := findNode(sim.Snapshot.RootSnapshotList, s.Self, nil)
		removed := []types.ManagedObjectReference{s.Self}
		if req.RemoveChildren && node != nil {
			removed = append(removed, treeRefs(node.ChildSnapshotList)...)
		}
		s.lab.moveCurrent(ctx, sim, removed, parent)
		if _, fault := s.lab.inner(s.VirtualMachineSnapshot.RemoveSnapshotTask(ctx, req)); fault != nil {
			return nil, fault
		}
		for _, ref := range removed[1:] {
			s.lab.registry().Remove(ctx, ref)
		}
		return nil, s.lab.removed(ctx, s.vm, "RemoveSnapshot_Task", removed, req.Consolidate)
	}
	return &methods.RemoveSnapshot_TaskBody{Res: &types.RemoveSnapshot_TaskResponse{
		Returnval: s.lab.startTask(ctx, s.vm, "removeSnapshot", "RemoveSnapshot_Task", do),
	}}
}

// RevertToSnapshotTask takes the disks back.
func (s *snapshot) RevertToSnapshotTask(ctx *simulator.Context, req *types.RevertToSnapshot_Task) soap.HasFault {
	do := func() (types.AnyType, types.BaseMethodFault) {
		sim, gone := s.owner()
		if gone != nil {
			return nil, gone
		}
		if _, fault := s.lab.inner(s.VirtualMachineSnapshot.RevertToSnapshotTask(ctx, req)); fault != nil {
			return nil, fault
		}
		return nil, s.lab.reverted(ctx, s.vm, sim, s.Self, req.SuppressPowerOn)
	}
	return &methods.RevertToSnapshot_TaskBody{Res: &types.RevertToSnapshot_TaskResponse{
		Returnval: s.lab.startTask(ctx, s.vm, "revertToSnapshot", "RevertToSnapshot_Task", do),
	}}
}

// owner is the machine of a snapshot that still exists.
func (s *snapshot) owner() (*simulator.VirtualMachine, types.BaseMethodFault) {
	sim, ok := s.lab.registry().Get(s.Vm).(*simulator.VirtualMachine)
	if !ok || sim.Snapshot == nil || s.lab.registry().Get(s.Self) == nil {
		return nil, &types.ManagedObjectNotFound{Obj: s.Self}
	}
	return sim, nil
}
