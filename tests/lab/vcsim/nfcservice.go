package main

import (
	"net"
	"reflect"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"migratekit.invalid/lab/vcsim/nfc"
)

// The requests and answers of NfcService, which no published WSDL has. Names and shapes are those on the wire.
type (
	NfcGetVmFiles struct { //nolint:revive // the method's name
		This types.ManagedObjectReference `xml:"_this"`
		VM   types.ManagedObjectReference `xml:"vm"`
	}
	NfcGetVmFilesResponse struct { //nolint:revive // the method's name
		Returnval types.HostServiceTicket `xml:"returnval"`
	}
	nfcGetVMFilesBody struct {
		Res    *NfcGetVmFilesResponse `xml:"NfcGetVmFilesResponse,omitempty"`
		Fault_ *soap.Fault            `xml:"http://schemas.xmlsoap.org/soap/envelope/ Fault,omitempty"` //nolint:revive // vcsim's name
	}

	NfcRandomAccessOpenReadonly struct { //nolint:revive // the method's name
		This          types.ManagedObjectReference  `xml:"_this"`
		VM            types.ManagedObjectReference  `xml:"vm"`
		DiskDeviceKey int32                         `xml:"diskDeviceKey"`
		HostForAccess *types.ManagedObjectReference `xml:"hostForAccess,omitempty"`
	}
	NfcRandomAccessOpenReadonlyResponse struct { //nolint:revive // the method's name
		Returnval types.HostServiceTicket `xml:"returnval"`
	}
	nfcRandomAccessBody struct {
		Res    *NfcRandomAccessOpenReadonlyResponse `xml:"NfcRandomAccessOpenReadonlyResponse,omitempty"`
		Fault_ *soap.Fault                          `xml:"http://schemas.xmlsoap.org/soap/envelope/ Fault,omitempty"` //nolint:revive // vcsim's name
	}

	NfcGetServerNfcLibVersion struct { //nolint:revive // the method's name
		This          types.ManagedObjectReference  `xml:"_this"`
		HostForAccess *types.ManagedObjectReference `xml:"hostForAccess,omitempty"`
	}
	NfcGetServerNfcLibVersionResponse struct { //nolint:revive // the method's name
		Returnval int32 `xml:"returnval"`
	}
	nfcVersionBody struct {
		Res    *NfcGetServerNfcLibVersionResponse `xml:"NfcGetServerNfcLibVersionResponse,omitempty"`
		Fault_ *soap.Fault                        `xml:"http://schemas.xmlsoap.org/soap/envelope/ Fault,omitempty"` //nolint:revive // vcsim's name
	}

	internalContent struct {
		NfcService types.ManagedObjectReference `xml:"nfcService"`
	}
	// RetrieveInternalContentResponse has the name that goes over the wire.
	RetrieveInternalContentResponse struct {
		Returnval internalContent `xml:"returnval"`
	}
	internalContentBody struct {
		Res    *RetrieveInternalContentResponse `xml:"RetrieveInternalContentResponse,omitempty"`
		Fault_ *soap.Fault                      `xml:"http://schemas.xmlsoap.org/soap/envelope/ Fault,omitempty"` //nolint:revive // vcsim's name
	}
)

// Fault makes them answers.
func (b *nfcGetVMFilesBody) Fault() *soap.Fault   { return b.Fault_ }
func (b *nfcRandomAccessBody) Fault() *soap.Fault { return b.Fault_ }
func (b *nfcVersionBody) Fault() *soap.Fault      { return b.Fault_ }
func (b *internalContentBody) Fault() *soap.Fault { return b.Fault_ }

func init() {
	types.Add("NfcGetVmFiles", reflect.TypeFor[NfcGetVmFiles]())
	types.Add("NfcRandomAccessOpenReadonly", reflect.TypeFor[NfcRandomAccessOpenReadonly]())
	types.Add("NfcGetServerNfcLibVersion", reflect.TypeFor[NfcGetServerNfcLibVersion]())
}

const (
	privilegeGetVMFiles = "VirtualMachine.Provisioning.GetVmFiles"
	privilegeDiskRead   = "VirtualMachine.Provisioning.DiskRandomRead"
)

// nfcService is the managed object that gives tickets.
type nfcService struct {
	lab *Lab
	ref types.ManagedObjectReference
	vm  types.ManagedObjectReference // that the call is about
}

// Reference makes it a managed object.
func (n *nfcService) Reference() types.ManagedObjectReference { return n.ref }

// Lock and Unlock keep vcsim from having one ticket wait for another.
func (*nfcService) Lock() {}

// Unlock belongs to Lock.
func (*nfcService) Unlock() {}

// nfcRef is where the service is: its id differs between vCenter and a host.
func (l *Lab) nfcRef() types.ManagedObjectReference {
	if l.registry().IsVPX() {
		return types.ManagedObjectReference{Type: "NfcService", Value: "nfcService"}
	}
	return types.ManagedObjectReference{Type: "NfcService", Value: "ha-nfc-service"}
}

// standInForNFC answers calls to the service, and says where it is.
func (l *Lab) standInForNFC(method *simulator.Method) mo.Reference {
	if method.Name == "RetrieveInternalContent" {
		if instance, ok := l.registry().Get(method.This).(*simulator.ServiceInstance); ok {
			return &serviceInstance{instance, l}
		}
	}
	if method.This != l.nfcRef() {
		return nil
	}
	service := &nfcService{lab: l, ref: method.This}
	switch body := method.Body.(type) {
	case *NfcGetVmFiles:
		service.vm = body.VM
	case *NfcRandomAccessOpenReadonly:
		service.vm = body.VM
	}
	return service
}

// serviceInstance stands in where it is asked for the internal services.
type serviceInstance struct {
	*simulator.ServiceInstance
	lab *Lab
}

// RetrieveInternalContent takes any request, for the type of the real one is internal to vcsim.
func (s *serviceInstance) RetrieveInternalContent(any) soap.HasFault {
	return &internalContentBody{Res: &RetrieveInternalContentResponse{Returnval: internalContent{s.lab.nfcRef()}}}
}

// NfcGetVmFiles gives a ticket for all files of a machine.
func (n *nfcService) NfcGetVmFiles(req *NfcGetVmFiles) soap.HasFault { //nolint:revive // the method's name
	ticket, fault := n.issue(req.VM, nil, 0, privilegeGetVMFiles, privilegeDiskRead)
	if fault != nil {
		return &nfcGetVMFilesBody{Fault_: fault}
	}
	return &nfcGetVMFilesBody{Res: &NfcGetVmFilesResponse{*ticket}}
}

// NfcRandomAccessOpenReadonly gives a ticket for the files of one disk.
func (n *nfcService) NfcRandomAccessOpenReadonly(req *NfcRandomAccessOpenReadonly) soap.HasFault {
	ticket, fault := n.issue(req.VM, req.HostForAccess, req.DiskDeviceKey, privilegeDiskRead)
	if fault != nil {
		return &nfcRandomAccessBody{Fault_: fault}
	}
	return &nfcRandomAccessBody{Res: &NfcRandomAccessOpenReadonlyResponse{*ticket}}
}

// NfcGetServerNfcLibVersion says which protocol a host speaks.
func (n *nfcService) NfcGetServerNfcLibVersion(req *NfcGetServerNfcLibVersion) soap.HasFault {
	if host := req.HostForAccess; host != nil && n.lab.nfcHosts[*host] == nil {
		return &nfcVersionBody{Fault_: simulator.Fault("", &types.ManagedObjectNotFound{Obj: *host})}
	}
	return &nfcVersionBody{Res: &NfcGetServerNfcLibVersionResponse{n.lab.nfc.Switches().LibVersion}}
}

// issue makes a ticket, for one disk (key is not 0) or for all.
func (n *nfcService) issue(ref types.ManagedObjectReference, host *types.ManagedObjectReference, key int32, privileges ...string) (*types.HostServiceTicket, *soap.Fault) {
	sim, ok := n.lab.registry().Get(ref).(*simulator.VirtualMachine)
	if !ok {
		message := "The object 'vim.VirtualMachine:" + ref.Value + "' has already been deleted or has not been completely created"
		return nil, simulator.Fault(message, &types.ManagedObjectNotFound{Obj: ref})
	}
	for _, id := range privileges {
		if !n.lab.granted(ref, id) {
			return nil, simulator.Fault("Permission to perform this operation was denied.", &types.NoPermission{Object: &ref, PrivilegeId: id})
		}
	}
	vm := n.lab.state(ref)
	if vm == nil { // one of a fleet, or a client's own: there is nothing to read
		return nil, simulator.Fault("", &types.InvalidState{})
	}
	var only func(string) bool
	if key != 0 {
		if only = vm.filesOf(key); only == nil {
			return nil, invalidArgument("diskDeviceKey")
		}
	}
	at := sim.Runtime.Host
	if host != nil {
		at = host
	}
	if at == nil || n.lab.nfcHosts[*at] == nil {
		return nil, invalidArgument("hostForAccess")
	}
	return n.lab.ticket(n.lab.nfcHosts[*at], vm, only), nil
}

func (l *Lab) ticket(host *nfc.Host, vm *vmState, only func(string) bool) *types.HostServiceTicket {
	viaVCenter, service := l.registry().IsVPX(), "nfc"
	if viaVCenter {
		service = "vpxa-nfc"
	}
	at := host.Address()
	ticket := &types.HostServiceTicket{
		Host: at.IP.String(), Port: int32(at.Port), SslThumbprint: host.Thumbprint(), Service: service, ServiceVersion: "1.0",
		SessionId: l.nfc.Issue(host, &nfcMachine{l, vm}, service, only),
	}
	if port := l.nfc.Switches().TicketPort; port != 0 {
		ticket.Port = port
	}
	if named := l.nfc.Switches().TicketHost; named == "left-out" || (named == "auto" && !viaVCenter) {
		ticket.Host = ""
	}
	return ticket
}

// startNFC has every ESXi host of the inventory listen, each on a port of its own.
func (l *Lab) startNFC(address string) error {
	for _, obj := range l.registry().All("HostSystem") {
		system, ok := obj.(*simulator.HostSystem)
		if !ok {
			continue
		}
		host, err := l.nfc.Start(system.Name, net.JoinHostPort(address, "0"), l.registry().IsVPX())
		if err != nil {
			return err
		}
		l.nfcHosts[system.Self] = host
	}
	return nil
}
