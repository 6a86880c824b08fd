package main

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// snapshot takes one and returns it.
func (s *started) snapshot(vm *object.VirtualMachine, name string) types.ManagedObjectReference {
	s.t.Helper()
	task, err := vm.CreateSnapshot(context.Background(), name, "", false, false)
	must(s.t, err)
	info, err := task.WaitForResult(context.Background(), nil)
	must(s.t, err)
	return info.Result.(types.ManagedObjectReference)
}

func changeIDs(devices []types.BaseVirtualDevice) []string {
	var ids []string
	for _, d := range virtualDisks(devices) {
		ids = append(ids, d.Backing.(*types.VirtualDiskFlatVer2BackingInfo).ChangeId)
	}
	return ids
}

func TestAllocatedAreas(t *testing.T) {
	s := start(t, running("web01", 1<<20))
	vm := s.vm(s.login(), "web01")
	s.ask("PUT", "/lab/vms/web01/disks/0?offset=100000", []byte("x"), http.StatusOK)
	snapshot := s.snapshot(vm, "one")
	areas := func() ([]types.DiskChangeExtent, error) {
		res, err := methods.QueryChangedDiskAreas(context.Background(), vm.Client(), &types.QueryChangedDiskAreas{
			This: vm.Reference(), Snapshot: &snapshot, DeviceKey: 2000, ChangeId: "*",
		})
		if err != nil {
			return nil, err
		}
		return res.Returnval.ChangedArea, nil
	}
	found, err := areas()
	must(t, err)
	if len(found) != 1 || found[0].Length != 1<<16 {
		t.Fatalf("allocated: %v", found)
	}
	s.ask("PUT", "/lab/switches", rule{"allocated": "whole"}, http.StatusOK)
	found, err = areas()
	must(t, err)
	if want := (types.DiskChangeExtent{Length: 1 << 20}); len(found) != 1 || found[0] != want {
		t.Fatalf("whole: %v", found)
	}
	s.ask("PUT", "/lab/switches", rule{"allocated": "refused"}, http.StatusOK)
	_, err = areas()
	mustFail[types.FileFault](t, err)
	s.ask("PUT", "/lab/switches", rule{"allocated": "some"}, http.StatusBadRequest)
}

func TestLiveDisksWithAndWithoutChangeIDs(t *testing.T) {
	s := start(t, running("web01", 1<<20))
	vm := s.vm(s.login(), "web01")
	if ids := changeIDs(s.properties(vm).Config.Hardware.Device); ids[0] != "" {
		t.Fatalf("live: %v", ids)
	}
	snapshot := s.snapshot(vm, "one")
	var kept mo.VirtualMachineSnapshot
	must(t, vm.Properties(context.Background(), snapshot, []string{"config"}, &kept))
	if ids := changeIDs(kept.Config.Hardware.Device); !strings.HasSuffix(ids[0], "/1") {
		t.Fatalf("snapshot: %v", ids)
	}
	if config := s.properties(vm).Config; changeIDs(config.Hardware.Device)[0] != "" || !*config.ChangeTrackingEnabled {
		t.Fatal("live, after a snapshot")
	}
	s.ask("PUT", "/lab/switches", rule{"live_change_ids": true}, http.StatusOK)
	if ids := changeIDs(s.properties(vm).Config.Hardware.Device); ids[0] == "" {
		t.Fatal("none")
	}
	s.ask("DELETE", "/lab/switches", nil, http.StatusOK)
	if ids := changeIDs(s.properties(vm).Config.Hardware.Device); ids[0] != "" {
		t.Fatal("not back")
	}
}

func TestEscapedNames(t *testing.T) {
	name := `100% a/b\c`
	inFolder := running("plain", 1<<20)
	inFolder.Folder = "prod/a%2fb"
	s := start(t, running(name, 1<<20), inFolder)
	c := s.login()
	var parent mo.Folder
	within := s.vm(c, "prod/a%2fb/plain")
	must(t, within.Properties(context.Background(), *s.properties(within).Parent, []string{"name"}, &parent))
	if parent.Name != "a%2fb" {
		t.Fatal(parent.Name)
	}
	listed := s.ask("GET", "/lab/vms", nil, http.StatusOK)["vms"].([]any)[0].(map[string]any)
	if listed["name"] != "100%25 a%2fb%5cc" || listed["dir"] != "100_ a_b_c" {
		t.Fatalf("%v", listed)
	}
	vm := object.NewVirtualMachine(c.Client, types.ManagedObjectReference{Type: "VirtualMachine", Value: listed["id"].(string)})
	snapshot := s.snapshot(vm, "before 1/2")
	seen := s.properties(vm)
	if seen.Name != "100%25 a%2fb%5cc" || seen.Snapshot.RootSnapshotList[0].Name != "before 1%2f2" || snapshot.Value == "" {
		t.Fatalf("%s %v", seen.Name, seen.Snapshot.RootSnapshotList)
	}
	s.fault(rule{"method": "RemoveAllSnapshots_Task", "object": name, "fault": "InvalidState"})
	_, err := vm.RemoveAllSnapshot(context.Background(), nil)
	mustFail[types.InvalidState](t, err)
}

func TestInterfacesOnOneCard(t *testing.T) {
	spec := running("router", 1<<20)
	spec.NICs = []NICSpec{{IP: "192.0.2.1", VLANs: []string{"198.51.100.1", "203.0.113.1"}}, {IP: "192.0.2.2"}}
	s := start(t, spec)
	var keys []int32
	var addresses []string
	for _, nic := range s.properties(s.vm(s.login(), "router")).Guest.Net {
		keys, addresses = append(keys, nic.DeviceConfigId), append(addresses, nic.IpAddress...)
	}
	if keys[0] != keys[1] || keys[0] != keys[2] || keys[3] == keys[0] {
		t.Fatal(keys)
	}
	if !slices.Equal(addresses, []string{"192.0.2.1", "198.51.100.1", "203.0.113.1", "192.0.2.2"}) {
		t.Fatal(addresses)
	}
}

func TestRenewedCertificate(t *testing.T) {
	s := start(t)
	shown := func() string {
		c, err := govmomi.NewClient(context.Background(), s.url, true)
		must(t, err)
		defer func() { _ = c.Logout(context.Background()) }()
		resp, err := c.Get(s.url.String())
		must(t, err)
		defer func() { _ = resp.Body.Close() }()
		return resp.TLS.PeerCertificates[0].Subject.CommonName
	}
	if name := shown(); name != "first" {
		t.Fatal(name)
	}
	cert, key := newCertificate(t, "second")
	s.ask("PUT", "/lab/certificate", rule{"cert": cert, "key": key}, http.StatusOK)
	if name := shown(); name != "second" {
		t.Fatal(name)
	}
	s.ask("PUT", "/lab/certificate", rule{"cert": cert, "key": "missing"}, http.StatusBadRequest)
}
