package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"migratekit.invalid/lab/vcsim/nfc"
	"migratekit.invalid/lab/vcsim/nfctest"
)

// The calls as a client makes them, which no published WSDL has.
type (
	getVMFilesCall struct {
		Req    *NfcGetVmFiles         `xml:"urn:vim25 NfcGetVmFiles,omitempty"`
		Res    *NfcGetVmFilesResponse `xml:"NfcGetVmFilesResponse,omitempty"`
		Fault_ *soap.Fault            `xml:"http://schemas.xmlsoap.org/soap/envelope/ Fault,omitempty"` //nolint:revive // govmomi's name
	}
	openReadonlyCall struct {
		Req    *NfcRandomAccessOpenReadonly         `xml:"urn:vim25 NfcRandomAccessOpenReadonly,omitempty"`
		Res    *NfcRandomAccessOpenReadonlyResponse `xml:"NfcRandomAccessOpenReadonlyResponse,omitempty"`
		Fault_ *soap.Fault                          `xml:"http://schemas.xmlsoap.org/soap/envelope/ Fault,omitempty"` //nolint:revive // govmomi's name
	}
	libVersionCall struct {
		Req    *NfcGetServerNfcLibVersion         `xml:"urn:vim25 NfcGetServerNfcLibVersion,omitempty"`
		Res    *NfcGetServerNfcLibVersionResponse `xml:"NfcGetServerNfcLibVersionResponse,omitempty"`
		Fault_ *soap.Fault                        `xml:"http://schemas.xmlsoap.org/soap/envelope/ Fault,omitempty"` //nolint:revive // govmomi's name
	}
	internalRequest struct {
		This types.ManagedObjectReference `xml:"_this"`
	}
	internalCall struct {
		Req    *internalRequest                 `xml:"urn:vim25 RetrieveInternalContent,omitempty"`
		Res    *RetrieveInternalContentResponse `xml:"RetrieveInternalContentResponse,omitempty"`
		Fault_ *soap.Fault                      `xml:"http://schemas.xmlsoap.org/soap/envelope/ Fault,omitempty"` //nolint:revive // govmomi's name
	}
)

func (b *getVMFilesCall) Fault() *soap.Fault   { return b.Fault_ }
func (b *openReadonlyCall) Fault() *soap.Fault { return b.Fault_ }
func (b *libVersionCall) Fault() *soap.Fault   { return b.Fault_ }
func (b *internalCall) Fault() *soap.Fault     { return b.Fault_ }

var nfcServiceRef = types.ManagedObjectReference{Type: "NfcService", Value: "nfcService"}

func getVMFiles(c *govmomi.Client, service, vm types.ManagedObjectReference) (*types.HostServiceTicket, error) {
	var body getVMFilesCall
	if err := c.RoundTrip(context.Background(), &getVMFilesCall{Req: &NfcGetVmFiles{This: service, VM: vm}}, &body); err != nil {
		return nil, err
	}
	return &body.Res.Returnval, nil
}

func (s *started) ticket(c *govmomi.Client, vm *object.VirtualMachine) nfctest.Ticket {
	s.t.Helper()
	found, err := getVMFiles(c, nfcServiceRef, vm.Reference())
	must(s.t, err)
	return clientTicket(found)
}

func clientTicket(t *types.HostServiceTicket) nfctest.Ticket {
	host := t.Host
	if host == "" {
		host = "127.0.0.1"
	}
	return nfctest.Ticket{Address: fmt.Sprintf("%s:%d", host, t.Port), Thumbprint: t.SslThumbprint, Service: t.Service, Session: t.SessionId}
}

func (s *started) reader(c *govmomi.Client, vm *object.VirtualMachine) *nfctest.Client {
	s.t.Helper()
	reader, err := nfctest.Begin(s.ticket(c, vm))
	must(s.t, err)
	s.t.Cleanup(reader.Close)
	return reader
}

func mustRefuse(t *testing.T, err error, code uint64) {
	t.Helper()
	var failure *nfctest.Failure
	if !errors.As(err, &failure) || failure.Code != code {
		t.Fatalf("not %d but %v", code, err)
	}
}

func (s *started) noViolations() {
	s.t.Helper()
	if found := s.ask("GET", "/lab/nfc", nil, http.StatusOK)["violations"].([]any); len(found) > 0 {
		s.t.Fatal(found)
	}
}

// random has the guest write so much at the beginning of the first disk.
func (s *started) random(vm string, bytes int) []byte {
	s.t.Helper()
	data := make([]byte, bytes)
	_, _ = rand.Read(data)
	s.ask("PUT", "/lab/vms/"+vm+"/disks/0?offset=0", data, http.StatusOK)
	return data
}

func TestReadsWhatASnapshotFroze(t *testing.T) {
	s := start(t, running("web01", 3<<20))
	c := s.login()
	vm := s.vm(c, "web01")
	frozen := [][]byte{}
	for _, name := range []string{"one", "two", "three"} {
		s.random("web01", 100_000)
		frozen = append(frozen, s.disk("web01"))
		s.snapshot(vm, name)
	}
	s.random("web01", 200_000)
	reader := s.reader(c, vm)
	for i, path := range []string{"disk1.vmdk", "disk1-000001.vmdk", "disk1-000002.vmdk"} {
		handle, capacity, err := reader.Open("[LocalDS_0] web01/" + path)
		must(t, err)
		if capacity != 3<<20 {
			t.Fatal(capacity)
		}
		for encoding := range []uint32{0, 1, 3} {
			data, err := reader.Read(handle, 0, 1<<20, uint32([]uint32{0, 1, 3}[encoding]))
			must(t, err)
			if !bytes.Equal(data, frozen[i][:1<<20]) {
				t.Fatalf("%s, encoding %d, is not what was frozen", path, encoding)
			}
		}
		must(t, reader.CloseFile(handle))
	}
	// The disk that the machine writes is its own.
	_, _, err := reader.Open("[LocalDS_0] web01/disk1-000003.vmdk")
	mustRefuse(t, err, 11)
	must(t, reader.End())
	s.noViolations()
}

// disk is what the guest reads of the first disk.
func (s *started) disk(vm string) []byte {
	s.t.Helper()
	resp, err := s.http.Get("https://" + s.url.Host + "/lab/vms/" + vm + "/disks/0")
	must(s.t, err)
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	must(s.t, err)
	return data
}

func TestOpensWhatTheTicketIsFor(t *testing.T) {
	off := running("off01", 1<<20)
	off.Power = "off"
	two := running("two01", 1<<20)
	two.Disks = append(two.Disks, two.Disks[0])
	s := start(t, running("web01", 1<<20), off, two)
	c := s.login()
	reader := s.reader(c, s.vm(c, "off01"))
	_, _, err := reader.Open("[LocalDS_0] off01/disk1.vmdk") // a machine that is off
	must(t, err)
	for path, code := range map[string]uint64{
		"[LocalDS_0] web01/disk1.vmdk":                 nfc.CodePermission,
		"[LocalDS_0] off01/../web01/disk1.vmdk":        nfc.CodePermission,
		"[other] off01/disk1.vmdk":                     nfc.CodePermission,
		"[LocalDS_0] off01/disk9.vmdk":                 nfc.CodeMissing,
		"[LocalDS_0] off01/disk1-flat.vmdk":            nfc.CodeMissing,
		"/vmfs/volumes/LocalDS_0/off01/disk1.vmdk":     nfc.CodePermission,
		"[LocalDS_0] off01/../../../../../etc/shadow/": nfc.CodePermission,
	} {
		_, _, err := reader.Open(path)
		mustRefuse(t, err, code)
	}
	reader = s.reader(c, s.vm(c, "web01"))
	_, _, err = reader.Open("[LocalDS_0] web01/disk1.vmdk") // running, its current disk
	mustRefuse(t, err, nfc.CodePermission)

	vm := s.vm(c, "two01")
	s.snapshot(vm, "one")
	var body openReadonlyCall
	req := &NfcRandomAccessOpenReadonly{This: nfcServiceRef, VM: vm.Reference(), DiskDeviceKey: 2001}
	must(t, c.RoundTrip(context.Background(), &openReadonlyCall{Req: req}, &body))
	reader, err = nfctest.Begin(clientTicket(&body.Res.Returnval))
	must(t, err)
	defer reader.Close()
	_, _, err = reader.Open("[LocalDS_0] two01/disk2.vmdk")
	must(t, err)
	_, _, err = reader.Open("[LocalDS_0] two01/disk1.vmdk") // of the same machine, but not that disk
	mustRefuse(t, err, nfc.CodePermission)
	req.DiskDeviceKey = 2009
	mustFail[types.InvalidArgument](t, c.RoundTrip(context.Background(), &openReadonlyCall{Req: req}, &body))
	s.noViolations()
}

func TestTicketsOfVCenterAndHost(t *testing.T) {
	s := start(t, running("web01", 1<<20))
	c := s.login()
	vm := s.vm(c, "web01")
	found, err := getVMFiles(c, nfcServiceRef, vm.Reference())
	must(t, err)
	if found.Host != "127.0.0.1" || found.Service != "vpxa-nfc" || found.Port == 0 || len(found.SslThumbprint) != 59 || found.SessionId == "" {
		t.Fatalf("%+v", found)
	}
	_, err = getVMFiles(c, types.ManagedObjectReference{Type: "NfcService", Value: "ha-nfc-service"}, vm.Reference())
	mustFail[types.ManagedObjectNotFound](t, err)
	_, err = getVMFiles(c, nfcServiceRef, types.ManagedObjectReference{Type: "VirtualMachine", Value: "vm-0"})
	mustFail[types.ManagedObjectNotFound](t, err)
	s.ask("PUT", "/lab/nfc/switches", rule{"ticket_port": 902}, http.StatusOK)
	found, err = getVMFiles(c, nfcServiceRef, vm.Reference())
	must(t, err)
	if found.Port != 902 {
		t.Fatal(found.Port)
	}
	s.ask("PUT", "/lab/nfc/switches", rule{"ticket_port": 1 << 16}, http.StatusBadRequest)
	s.ask("DELETE", "/lab/nfc/switches", nil, http.StatusOK)
	service, version := s.nfcContent(c)
	if service != nfcServiceRef || version != 11 {
		t.Fatal(service, version)
	}
	for _, privilege := range []string{privilegeGetVMFiles, privilegeDiskRead} {
		s.ask("POST", "/lab/privileges", rule{"privileges": []string{privilege}, "object": vm.Reference().Value}, http.StatusOK)
		_, err = getVMFiles(c, nfcServiceRef, vm.Reference())
		fault, ok := faultOf(err).(types.NoPermission)
		if !ok || fault.PrivilegeId != privilege || *fault.Object != vm.Reference() {
			t.Fatal(privilege, err)
		}
		s.ask("DELETE", "/lab/privileges", nil, http.StatusOK)
	}
	s.fault(rule{"method": "NfcGetVmFiles", "object": "web01", "fault": "HostNotConnected", "max": 1})
	_, err = getVMFiles(c, nfcServiceRef, vm.Reference())
	mustFail[types.HostNotConnected](t, err)
	s.fault(rule{"method": "NfcGetVmFiles", "object": "web01", "mode": "status", "max": 1})
	if _, err = getVMFiles(c, nfcServiceRef, vm.Reference()); err == nil {
		t.Fatal("no 503")
	}
	must(t, c.Logout(context.Background()))
	_, err = getVMFiles(c, nfcServiceRef, vm.Reference())
	mustFail[types.NotAuthenticated](t, err)
}

// nfcContent asks where the service is, and what it speaks.
func (s *started) nfcContent(c *govmomi.Client) (types.ManagedObjectReference, int32) {
	s.t.Helper()
	var content internalCall
	instance := types.ManagedObjectReference{Type: "ServiceInstance", Value: "ServiceInstance"}
	must(s.t, c.RoundTrip(context.Background(), &internalCall{Req: &internalRequest{instance}}, &content))
	service := content.Res.Returnval.NfcService
	var version libVersionCall
	must(s.t, c.RoundTrip(context.Background(), &libVersionCall{Req: &NfcGetServerNfcLibVersion{This: service}}, &version))
	return service, version.Res.Returnval
}

func TestBareHost(t *testing.T) {
	s := startInventory(t, &Inventory{Kind: "host", VMs: []VMSpec{running("web01", 1<<20)}})
	c := s.login()
	service, _ := s.nfcContent(c)
	if service.Value != "ha-nfc-service" {
		t.Fatal(service)
	}
	vm := object.NewVirtualMachine(c.Client, s.lab.states()[0].ref)
	found, err := getVMFiles(c, service, vm.Reference())
	must(t, err)
	if found.Host != "" || found.Service != "nfc" {
		t.Fatalf("%+v", found)
	}
	s.snapshot(vm, "one")
	reader, err := nfctest.Begin(clientTicket(found))
	must(t, err)
	_, _, err = reader.Open("[LocalDS_0] web01/disk1.vmdk")
	must(t, err)
	must(t, reader.End())
	s.ask("PUT", "/lab/nfc/switches", rule{"ticket_host": "named"}, http.StatusOK)
	found, err = getVMFiles(c, service, vm.Reference())
	must(t, err)
	if found.Host == "" {
		t.Fatal("not named")
	}
	s.noViolations()
}
