package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/methods"
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

func TestNFCAndTheDatastoreBrowserKeepEachOtherOut(t *testing.T) {
	s := start(t, running("web01", 64<<20)) // more than fits into the buffers of a connection
	c := s.login()
	vm := s.vm(c, "web01")
	s.snapshot(vm, "one")
	reader := s.reader(c, vm)
	handle, _, err := reader.Open("[LocalDS_0] web01/disk1.vmdk")
	must(t, err)
	if status, _ := s.browse(); status != http.StatusInternalServerError {
		t.Fatal(status)
	}
	must(t, reader.CloseFile(handle))
	status, body := s.browse() // and does not read it
	if status != http.StatusOK {
		t.Fatal(status)
	}
	_, _, err = reader.Open("[LocalDS_0] web01/disk1.vmdk")
	mustRefuse(t, err, nfc.CodeLocked)
	_ = body.Close()
	wait(t, func() bool { _, _, err = reader.Open("[LocalDS_0] web01/disk1.vmdk"); return err == nil })
	s.ask("PUT", "/lab/nfc/switches", rule{"folder_locks": false}, http.StatusOK)
	if status, _ := s.browse(); status != http.StatusOK {
		t.Fatal(status)
	}
}

// browse asks the datastore browser for the first disk's file.
func (s *started) browse() (int, io.ReadCloser) {
	s.t.Helper()
	req, err := http.NewRequest("GET", "https://"+s.url.Host+"/folder/web01/disk1-flat.vmdk?dcPath=DC0&dsName=LocalDS_0", nil)
	must(s.t, err)
	req.SetBasicAuth("user", "password")
	resp, err := s.http.Do(req)
	must(s.t, err)
	s.t.Cleanup(func() { _ = resp.Body.Close() })
	return resp.StatusCode, resp.Body
}

func wait(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not happen")
		}
	}
}

func TestAnOpenFileStaysAsItIs(t *testing.T) {
	s := start(t, running("web01", 1<<20))
	s.ask("PUT", "/lab/nfc/switches", rule{"seconds_for_locks": 0}, http.StatusOK)
	c := s.login()
	vm := s.vm(c, "web01")
	frozen := s.random("web01", 1<<20)
	snapshot := s.snapshot(vm, "one")
	s.random("web01", 1<<20)
	reader := s.reader(c, vm)
	handle, _, err := reader.Open("[LocalDS_0] web01/disk1.vmdk")
	must(t, err)
	remove := func() error {
		task, err := vm.RemoveSnapshot(context.Background(), snapshot.Value, false, nil)
		must(t, err)
		return task.Wait(context.Background())
	}
	mustFail[types.FileLocked](t, remove())
	if !s.properties(vm).Runtime.ConsolidationNeeded {
		t.Fatal("no consolidation needed")
	}
	consolidate := func() error {
		res, err := methods.ConsolidateVMDisks_Task(context.Background(), vm.Client(), &types.ConsolidateVMDisks_Task{This: vm.Reference()})
		must(t, err)
		return object.NewTask(vm.Client(), res.Returnval).Wait(context.Background())
	}
	mustFail[types.FileLocked](t, consolidate())
	data, err := reader.Read(handle, 0, 1<<20, 0)
	must(t, err)
	if !bytes.Equal(data, frozen) {
		t.Fatal("the file changed under its reader")
	}
	task, err := vm.PowerOff(context.Background())
	must(t, err)
	must(t, task.Wait(context.Background()))
	second := s.reader(c, vm)
	_, _, err = second.Open("[LocalDS_0] web01/disk1-000001.vmdk")
	must(t, err)
	task, err = vm.PowerOn(context.Background())
	must(t, err)
	mustFail[types.FileLocked](t, task.Wait(context.Background()))
	s.ask("POST", "/lab/nfc/drop", nil, http.StatusOK)
	wait(t, func() bool { return consolidate() == nil })
}

func TestSessionsOutliveVCentersAndMoves(t *testing.T) {
	s := start(t, running("web01", 1<<20))
	c := s.login()
	vm := s.vm(c, "web01")
	frozen := s.random("web01", 1<<20)
	s.snapshot(vm, "one")
	reader := s.reader(c, vm)
	handle, _, err := reader.Open("[LocalDS_0] web01/disk1.vmdk")
	must(t, err)
	hosts, err := find.NewFinder(c.Client).HostSystemList(context.Background(), "*/*")
	must(t, err)
	seen := map[string]bool{}
	for _, host := range hosts { // vMotion
		ref := host.Reference()
		task, err := vm.Relocate(context.Background(), types.VirtualMachineRelocateSpec{Host: &ref}, types.VirtualMachineMovePriorityDefaultPriority)
		must(t, err)
		must(t, task.Wait(context.Background()))
		seen[s.ticket(c, vm).Address] = true
	}
	if len(seen) != len(hosts) {
		t.Fatal("tickets are not of the host that the machine is on: ", seen)
	}
	s.ask("DELETE", "/lab/sessions", nil, http.StatusOK)
	data, err := reader.Read(handle, 0, 1<<20, 3)
	must(t, err)
	if !bytes.Equal(data, frozen) {
		t.Fatal("other bytes")
	}
}

func TestHostsHaveLimitsOfTheirOwn(t *testing.T) {
	zero, one := 0, 1
	first, second := running("web01", 1<<20), running("web02", 1<<20)
	first.Host, second.Host = &zero, &one
	s := start(t, first, second)
	s.ask("PUT", "/lab/nfc/switches", rule{"max_connections": 1}, http.StatusOK)
	c := s.login()
	s.reader(c, s.vm(c, "web01"))
	s.reader(c, s.vm(c, "web02"))
	if _, err := nfctest.Begin(s.ticket(c, s.vm(c, "web01"))); err == nil {
		t.Fatal("a second connection of one host")
	}
	// A ticket is for its host.
	ticket, other := s.ticket(c, s.vm(c, "web01")), s.ticket(c, s.vm(c, "web02"))
	ticket.Address, ticket.Thumbprint = other.Address, other.Thumbprint
	if _, err := nfctest.Begin(ticket); err == nil {
		t.Fatal("a ticket of another host")
	}
	report := s.ask("GET", "/lab/nfc", nil, http.StatusOK)
	for _, host := range report["hosts"].([]any) {
		if host.(map[string]any)["max_connections"].(float64) < 1 {
			t.Fatal(report)
		}
	}
}

func TestVSANAndEarlierSnapshots(t *testing.T) {
	spec := running("object01", 2<<20)
	spec.Datastore = vsanName
	chained := running("chained01", 2<<20)
	for i, name := range []string{"one", "two", "three"} {
		at := int64(i) * 100_000
		chained.Snapshots = append(chained.Snapshots, SnapshotSpec{name, []WriteSpec{{0, at, 70_000}, {0, 1 << 20, 512}}})
	}
	s := start(t, spec, chained)
	c := s.login()

	vm := s.vm(c, "object01")
	frozen := s.random("object01", 1<<20)
	s.snapshot(vm, "ours")
	s.random("object01", 1<<20)
	disk := virtualDisks(s.properties(vm).Config.Hardware.Device)[0]
	path := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo).Parent.FileName
	if !strings.HasPrefix(path, "[vsan01] ") {
		t.Fatal(path)
	}
	reader := s.reader(c, vm)
	handle, _, err := reader.Open(path)
	must(t, err)
	data, err := reader.Read(handle, 0, 1<<20, 3)
	must(t, err)
	if !bytes.Equal(data, frozen) {
		t.Fatal("other bytes")
	}
	_, _, err = reader.Open("[vsan01] object01/disk1.vmdk") // by its name, which is no object
	mustRefuse(t, err, nfc.CodePermission)
	report := s.ask("GET", "/lab/vms/object01", nil, http.StatusOK)
	for file, status := range map[string]int{"disk1-flat.vmdk": http.StatusNotFound, "disk1-000001.vmdk": http.StatusOK} {
		if got := s.get("/folder/" + report["dir"].(string) + "/" + file + "?dcPath=DC0&dsName=vsan01"); got != status {
			t.Fatal(file, got)
		}
	}

	vm = s.vm(c, "chained01")
	if tree := s.properties(vm).Snapshot.RootSnapshotList; tree[0].ChildSnapshotList[0].ChildSnapshotList[0].Name != "three" {
		t.Fatalf("%+v", tree)
	}
	live := s.disk("chained01")
	s.snapshot(vm, "ours")
	s.random("chained01", 2<<20)
	reader = s.reader(c, vm)
	handle, _, err = reader.Open("[LocalDS_0] chained01/disk1-000003.vmdk")
	must(t, err)
	for at := uint64(0); at < 2; at++ {
		data, err = reader.Read(handle, at<<20, 1<<20, 3)
		must(t, err)
		if !bytes.Equal(data, live[at<<20:(at+1)<<20]) {
			t.Fatal("other bytes")
		}
	}
	s.noViolations()
}

// get is the status of a path of the server.
func (s *started) get(path string) int {
	s.t.Helper()
	req, err := http.NewRequest("GET", "https://"+s.url.Host+path, nil)
	must(s.t, err)
	req.SetBasicAuth("user", "password")
	resp, err := s.http.Do(req)
	must(s.t, err)
	_ = resp.Body.Close()
	return resp.StatusCode
}
