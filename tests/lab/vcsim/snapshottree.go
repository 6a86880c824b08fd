package main

import (
	"slices"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// treeRefs are all snapshots of a tree.
func treeRefs(tree []types.VirtualMachineSnapshotTree) []types.ManagedObjectReference {
	var refs []types.ManagedObjectReference
	for _, node := range tree {
		refs = append(append(refs, node.Snapshot), treeRefs(node.ChildSnapshotList)...)
	}
	return refs
}

// findNode finds a snapshot and its parent, which is nil for a root.
func findNode(tree []types.VirtualMachineSnapshotTree, ref types.ManagedObjectReference, parent *types.ManagedObjectReference) (*types.VirtualMachineSnapshotTree, *types.ManagedObjectReference) {
	for i := range tree {
		if tree[i].Snapshot == ref {
			return &tree[i], parent
		}
		self := tree[i].Snapshot
		if node, above := findNode(tree[i].ChildSnapshotList, ref, &self); node != nil {
			return node, above
		}
	}
	return nil, nil
}

// moveCurrent moves the current snapshot down before it is removed. vcsim leaves it dangling if it goes with its
// ancestor, and crashes if it is a root while others remain.
func (l *Lab) moveCurrent(ctx *simulator.Context, sim *simulator.VirtualMachine, removed []types.ManagedObjectReference, to *types.ManagedObjectReference) {
	if sim.Snapshot == nil || sim.Snapshot.CurrentSnapshot == nil || !slices.Contains(removed, *sim.Snapshot.CurrentSnapshot) {
		return
	}
	info := *sim.Snapshot
	info.CurrentSnapshot = to
	ctx.Update(sim, []types.PropertyChange{{Name: "snapshot", Val: &info}})
}

// removed merges the disks after vcsim removed snapshots, if the client wants that and no rule prevents it.
func (l *Lab) removed(ctx *simulator.Context, vm *vmState, method string, refs []types.ManagedObjectReference, want *bool) types.BaseMethodFault {
	left := l.taskRule("consolidation-needed", method, vm)
	now := left == nil && (want == nil || *want)
	inUse := ""
	if now {
		inUse = l.locked(vm, func() []points { return vm.cutsOf(refs) })
		now = inUse == ""
	}
	err := vm.remove(refs, now)
	l.refresh(ctx, vm)
	if !now {
		l.needsConsolidation(ctx, vm, true)
	}
	switch {
	case err != nil:
		return diskFault(vm, err)
	case inUse != "":
		return fileLocked(inUse)
	case left != nil && left.Fault != "":
		fault, _ := newFault(*left, vm.ref)
		return fault
	}
	return nil
}

// needsConsolidation shows whether disks were left that belong to no snapshot.
func (l *Lab) needsConsolidation(ctx *simulator.Context, vm *vmState, needs bool) {
	if sim, ok := l.registry().Get(vm.ref).(*simulator.VirtualMachine); ok {
		ctx.WithLock(sim, func() {
			ctx.Update(sim, []types.PropertyChange{
				{Name: "runtime.consolidationNeeded", Val: needs}, {Name: "summary.runtime.consolidationNeeded", Val: needs},
			})
		})
	}
}

// reverted takes the disks back after vcsim moved the current snapshot. A snapshot without memory is a machine that
// is switched off, so that is what one gets; a guest that ran on over other disks would make no sense.
func (l *Lab) reverted(ctx *simulator.Context, vm *vmState, sim *simulator.VirtualMachine, to types.ManagedObjectReference, suppressPowerOn *bool) types.BaseMethodFault {
	on := false
	if node, _ := findNode(sim.Snapshot.RootSnapshotList, to, nil); node != nil {
		on = node.State == types.VirtualMachinePowerStatePoweredOn
	}
	isOn := sim.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn
	if isOn && !on {
		if _, fault := l.inner(sim.PowerOffVMTask(ctx, &types.PowerOffVM_Task{This: vm.ref})); fault != nil {
			return fault
		}
	}
	vm.mu.RLock()
	inUse := vm.liveOpen()
	vm.mu.RUnlock()
	if inUse != "" {
		return fileLocked(inUse)
	}
	err := vm.revert(to)
	l.refresh(ctx, vm)
	if err != nil {
		return diskFault(vm, err)
	}
	if on && !isOn && (suppressPowerOn == nil || !*suppressPowerOn) {
		_, fault := l.inner(sim.PowerOnVMTask(ctx, &types.PowerOnVM_Task{This: vm.ref}))
		return fault
	}
	return nil
}
