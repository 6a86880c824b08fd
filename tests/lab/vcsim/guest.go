package main

import (
	"fmt"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// guestNames are the full names of the systems that tests use; another one is shown by its id.
var guestNames = map[string]string{
	"debian10_64Guest":       "Debian GNU/Linux 10 (64-bit)",
	"debian11_64Guest":       "Debian GNU/Linux 11 (64-bit)",
	"debian12_64Guest":       "Debian GNU/Linux 12 (64-bit)",
	"ubuntu64Guest":          "Ubuntu Linux (64-bit)",
	"rhel7_64Guest":          "Red Hat Enterprise Linux 7 (64-bit)",
	"rhel8_64Guest":          "Red Hat Enterprise Linux 8 (64-bit)",
	"rhel9_64Guest":          "Red Hat Enterprise Linux 9 (64-bit)",
	"centos7_64Guest":        "CentOS 7 (64-bit)",
	"windows9Server64Guest":  "Microsoft Windows Server 2016 (64-bit)",
	"windows2019srv_64Guest": "Microsoft Windows Server 2019 (64-bit)",
	"otherGuest64":           "Other (64-bit)",
	"otherLinux64Guest":      "Other Linux (64-bit)",
}

// dressGuest fills in what does not change: the names of the system.
func (l *Lab) dressGuest(vm *vmState) {
	sim, ok := l.registry().Get(vm.ref).(*simulator.VirtualMachine)
	if !ok {
		return
	}
	full := guestNames[vm.spec.GuestID]
	setDefault(&full, vm.spec.GuestID)
	ctx := l.model.Service.Context
	ctx.WithLock(sim, func() {
		ctx.Update(sim, []types.PropertyChange{
			{Name: "config.guestFullName", Val: full},
			{Name: "summary.config.guestFullName", Val: full},
			// vcsim leaves these empty, and pyvmomi then cannot read the whole property.
			{Name: "runtime.faultToleranceState", Val: types.VirtualMachineFaultToleranceStateNotConfigured},
			{Name: "runtime.recordReplayState", Val: types.VirtualMachineRecordReplayStateInactive},
			{Name: "summary.runtime.faultToleranceState", Val: types.VirtualMachineFaultToleranceStateNotConfigured},
			{Name: "summary.runtime.recordReplayState", Val: types.VirtualMachineRecordReplayStateInactive},
		})
		l.updateGuest(ctx, vm, sim)
	})
}

// updateGuest shows the guest as its tools would report it in this power state; the machine's lock is held.
func (l *Lab) updateGuest(ctx *simulator.Context, vm *vmState, sim *simulator.VirtualMachine) {
	on := sim.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn
	talks := on && vm.spec.Tools == "running"
	guest := &types.GuestInfo{
		ToolsStatus:         types.VirtualMachineToolsStatusToolsNotRunning,
		ToolsRunningStatus:  string(types.VirtualMachineToolsRunningStatusGuestToolsNotRunning),
		ToolsVersion:        "12352",
		ToolsVersionStatus2: string(types.VirtualMachineToolsVersionStatusGuestToolsCurrent),
		GuestState:          string(types.VirtualMachineGuestStateNotRunning),
		GuestId:             vm.spec.GuestID,
		GuestFullName:       sim.Config.GuestFullName,
		GuestFamily:         sim.Guest.GuestFamily,
	}
	if on {
		guest.GuestState = string(types.VirtualMachineGuestStateRunning)
	}
	if talks {
		guest.ToolsStatus = types.VirtualMachineToolsStatusToolsOk
		guest.ToolsRunningStatus = string(types.VirtualMachineToolsRunningStatusGuestToolsRunning)
		guest.HostName = sim.Name
		guest.Net = guestNets(vm, sim)
		for _, n := range guest.Net {
			if guest.IpAddress == "" && len(n.IpAddress) > 0 {
				guest.IpAddress = n.IpAddress[0]
			}
		}
	}
	ctx.Update(sim, []types.PropertyChange{
		{Name: "guest", Val: guest},
		{Name: "summary.guest", Val: &types.VirtualMachineGuestSummary{
			GuestId: guest.GuestId, GuestFullName: guest.GuestFullName, ToolsStatus: guest.ToolsStatus,
			ToolsVersionStatus2: guest.ToolsVersionStatus2, ToolsRunningStatus: guest.ToolsRunningStatus,
			HostName: guest.HostName, IpAddress: guest.IpAddress,
		}},
	})
}

func guestNets(vm *vmState, sim *simulator.VirtualMachine) []types.GuestNicInfo {
	var nets []types.GuestNicInfo
	cards := 0
	for _, device := range sim.Config.Hardware.Device {
		nic, ok := device.(types.BaseVirtualEthernetCard)
		if !ok {
			continue
		}
		card, i := nic.GetVirtualEthernetCard(), cards
		cards++
		info := types.GuestNicInfo{MacAddress: card.MacAddress, Connected: true, DeviceConfigId: card.Key}
		if i < len(vm.spec.NICs) {
			info.Network = vm.spec.NICs[i].Network
			if ip := vm.spec.NICs[i].IP; ip != "" {
				info.IpAddress, info.IpConfig = []string{ip}, ipConfig(ip)
			}
		}
		nets = append(nets, info)
		if i < len(vm.spec.NICs) {
			for _, ip := range vm.spec.NICs[i].VLANs {
				vlan := info
				vlan.IpAddress, vlan.IpConfig = []string{ip}, ipConfig(ip)
				nets = append(nets, vlan)
			}
		}
	}
	return nets
}

func ipConfig(ip string) *types.NetIpConfigInfo {
	return &types.NetIpConfigInfo{IpAddress: []types.NetIpConfigInfoIpAddress{{
		IpAddress: ip, PrefixLength: 24, State: string(types.NetIpConfigInfoIpAddressStatusPreferred),
	}}}
}

// summaryOf is the text vSphere shows for a disk.
func summaryOf(capacity int64) string {
	digits := fmt.Sprint(capacity / 1024)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits + " KB"
}
