package main

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// ShutdownGuest needs the tools, which vcsim does not ask for, and a guest that obeys.
func (m *machine) ShutdownGuest(ctx *simulator.Context, req *types.ShutdownGuest) soap.HasFault {
	if obstacle := m.vm.obstacle("ShutdownGuest"); obstacle != nil {
		return &methods.ShutdownGuestBody{Fault_: simulator.Fault("", obstacle)}
	}
	if m.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn {
		if m.vm.spec.Tools != "running" {
			message := "Cannot complete operation because VMware Tools is not running in this virtual machine."
			return &methods.ShutdownGuestBody{Fault_: simulator.Fault(message, new(types.ToolsUnavailable))}
		}
		if m.vm.spec.Shutdown == "ignored" {
			return &methods.ShutdownGuestBody{Res: new(types.ShutdownGuestResponse)}
		}
	}
	return m.VirtualMachine.ShutdownGuest(ctx, req)
}
