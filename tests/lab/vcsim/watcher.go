package main

import (
	"fmt"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// watcher hears of every change of a property. So the lab follows the power state without having to stand in for
// each call that can change it.
type watcher struct{ lab *Lab }

// Reference makes the watcher a vcsim object; nothing else has this reference.
func (*watcher) Reference() types.ManagedObjectReference {
	return types.ManagedObjectReference{Type: "LabWatcher", Value: "lab"}
}

// PutObject corrects the name of each new task before anybody sees it: it must be that of an API method, and pyvmomi's
// WaitForTask stumbles over vcsim's "PowerOn".
func (*watcher) PutObject(_ *simulator.Context, obj mo.Reference) {
	task, ok := obj.(*simulator.Task)
	if !ok || strings.HasSuffix(task.Info.Name, "_Task") {
		return
	}
	switch name := task.Info.Name; name {
	case "PowerOn", "PowerOff", "Suspend", "Reset", "Clone", "Relocate":
		task.Info.Name = name + "VM_Task"
	case "Destroy", "Rename":
		task.Info.Name = name + "_Task"
	default:
		task.Info.Name = "" // it may be missing, but not wrong
	}
}

// RemoveObject forgets a machine that was destroyed or unregistered.
func (w *watcher) RemoveObject(_ *simulator.Context, ref types.ManagedObjectReference) {
	if ref.Type == "VirtualMachine" {
		w.lab.forget(ref)
	}
}

// UpdateObject runs inside the task that changes the machine, with the machine's lock held: when the client sees the
// task succeed, the lab already knows.
func (w *watcher) UpdateObject(ctx *simulator.Context, obj mo.Reference, changes []types.PropertyChange) {
	if task, ok := obj.(*mo.Task); ok && task.Info.Error != nil {
		task.Info.Error.LocalizedMessage = describe(task.Info.Error.Fault)
	}
	if obj.Reference().Type != "VirtualMachine" {
		return
	}
	vm := w.lab.state(obj.Reference())
	if vm == nil {
		return
	}
	for _, change := range changes {
		sim, ok := w.lab.registry().Get(vm.ref).(*simulator.VirtualMachine)
		if !ok {
			return
		}
		switch change.Name {
		case "name":
			vm.setName(sim.Name)
		case "runtime.powerState":
			vm.setPower(sim.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn)
			w.lab.updateGuest(ctx, vm, sim)
			w.lab.refresh(ctx, vm)
		}
	}
}

// describe says in words what a task failed with; vcsim says "*types.FileFault".
func describe(fault types.BaseMethodFault) string {
	if messages := fault.GetMethodFault().FaultMessage; len(messages) > 0 {
		return messages[0].Message
	}
	switch f := fault.(type) {
	case *types.InvalidPowerState:
		return "The attempted operation cannot be performed in the current state (" + string(f.ExistingState) + ")."
	case *types.ManagedObjectNotFound:
		return "The object '" + f.Obj.String() + "' has already been deleted or has not been completely created"
	case types.BaseFileFault:
		return "Error caused by file " + f.GetFileFault().File
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", fault), "*types.")
}
