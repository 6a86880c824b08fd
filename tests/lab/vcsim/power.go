package main

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// powerMethods are tasks of vcsim that the lab takes over only where a rule, or what goes on in the machine, asks for it.
var powerMethods = map[string]bool{"PowerOnVM_Task": true, "PowerOffVM_Task": true, "Destroy_Task": true}

// PowerOnVMTask is vcsim's, within a task of ours.
func (m *machine) PowerOnVMTask(ctx *simulator.Context, req *types.PowerOnVM_Task) soap.HasFault {
	do := func() (types.AnyType, types.BaseMethodFault) {
		return m.lab.inner(m.VirtualMachine.PowerOnVMTask(ctx, req))
	}
	return &methods.PowerOnVM_TaskBody{Res: &types.PowerOnVM_TaskResponse{
		Returnval: m.lab.startTask(ctx, m.vm, "powerOn", "PowerOnVM_Task", do),
	}}
}

// PowerOffVMTask is vcsim's, within a task of ours. It ends whatever the machine waits for.
func (m *machine) PowerOffVMTask(ctx *simulator.Context, req *types.PowerOffVM_Task) soap.HasFault {
	do := func() (types.AnyType, types.BaseMethodFault) {
		if q := m.vm.asked(); q != nil && m.vm.withdraw(q.id) != nil {
			go m.lab.showQuestion(m.vm, nil)
		}
		return m.lab.inner(m.VirtualMachine.PowerOffVMTask(ctx, req))
	}
	return &methods.PowerOffVM_TaskBody{Res: &types.PowerOffVM_TaskResponse{
		Returnval: m.lab.startTask(ctx, m.vm, "powerOff", "PowerOffVM_Task", do),
	}}
}

// DestroyTask is vcsim's, within a task of ours.
func (m *machine) DestroyTask(ctx *simulator.Context, req *types.Destroy_Task) soap.HasFault {
	do := func() (types.AnyType, types.BaseMethodFault) {
		return m.lab.inner(m.VirtualMachine.DestroyTask(ctx, req))
	}
	return &methods.Destroy_TaskBody{Res: &types.Destroy_TaskResponse{
		Returnval: m.lab.startTask(ctx, m.vm, "destroy", "Destroy_Task", do),
	}}
}
