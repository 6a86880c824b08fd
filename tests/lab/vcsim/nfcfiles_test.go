package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"migratekit.invalid/lab/vcsim/nfc"
	"migratekit.invalid/lab/vcsim/nfctest"
)

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
