package main

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

func now(c *govmomi.Client) error {
	_, err := methods.GetCurrentTime(context.Background(), c.Client)
	return err
}

func TestBrokenCalls(t *testing.T) {
	s := start(t, running("web01", 1<<20))
	c := s.login()
	ctx := context.Background()

	s.fault(rule{"mode": "status", "method": "CurrentTime", "skip": 1, "max": 1})
	must(t, now(c))
	if err := now(c); err == nil || !strings.Contains(err.Error(), "503") {
		t.Fatalf("no 503: %v", err)
	}
	must(t, now(c))

	s.fault(rule{"mode": "cut", "after": true, "method": "CreateSnapshot_Task", "object": "web01", "max": 1})
	vm := s.vm(c, "web01")
	if _, err := vm.CreateSnapshot(ctx, "one", "", false, false); err == nil || faultOf(err) != nil {
		t.Fatalf("the connection was not cut: %v", err)
	}
	for i := 0; s.properties(vm).Snapshot == nil; i++ { // the work was done
		if i > 1000 {
			t.Fatal("no snapshot")
		}
		time.Sleep(time.Millisecond)
	}

	s.fault(rule{"mode": "cut", "method": "RemoveAllSnapshots_Task", "max": 1})
	if _, err := vm.RemoveAllSnapshot(ctx, nil); err == nil {
		t.Fatal("the connection was not cut")
	}
	if s.properties(vm).Snapshot == nil {
		t.Fatal("the work was done")
	}

	s.fault(rule{"mode": "status", "method": "*", "type": "Datastore"})
	must(t, now(c))

	s.fault(rule{"mode": "torn", "method": "CurrentTime", "max": 1})
	if err := now(c); err == nil {
		t.Fatal("half an answer was taken")
	}
	s.fault(rule{"mode": "late", "seconds": 0.2, "method": "CurrentTime", "max": 1})
	began := time.Now()
	must(t, now(c))
	if time.Since(began) < 200*time.Millisecond {
		t.Fatal("not late")
	}
	s.ask("POST", "/lab/faults", rule{"mode": "late", "method": "CurrentTime"}, http.StatusBadRequest)
	s.ask("POST", "/lab/faults", rule{"mode": "nonsense", "method": "CurrentTime"}, http.StatusBadRequest)
	hits := s.ask("GET", "/lab/faults", nil, http.StatusOK)["faults"].([]any)
	if n := hits[0].(map[string]any)["hits"]; len(hits) != 6 || n != 1.0 {
		t.Fatalf("hits: %v", hits)
	}
}

func TestCallsAreListedWithTheirTargets(t *testing.T) {
	s := start(t, running("web01", 1<<20))
	c := s.login()
	vm := s.vm(c, "web01")
	next := s.ask("GET", "/lab/calls/log", nil, http.StatusOK)["next"].(float64)
	task, err := vm.CreateSnapshot(context.Background(), "one", "", false, false)
	must(t, err)
	must(t, task.Wait(context.Background()))
	s.properties(vm)
	var seen []string
	listed := s.ask("GET", "/lab/calls/log?since="+itoa(int(next)), nil, http.StatusOK)["calls"].([]any)
	for _, one := range listed {
		entry := one.(map[string]any)
		seen = append(seen, entry["method"].(string)+" "+entry["type"].(string))
		if entry["type"] == "VirtualMachine" && entry["vm"] != "web01" {
			t.Fatalf("whose? %v", entry)
		}
	}
	for _, want := range []string{"CreateSnapshot_Task VirtualMachine", "CreateFilter Task", "RetrievePropertiesEx VirtualMachine"} {
		if !slices.Contains(seen, want) {
			t.Errorf("no %s in %v", want, seen)
		}
	}
}

func TestEndedSessions(t *testing.T) {
	s := start(t, running("web01", 1<<20))
	c := s.login()
	ctx := context.Background()
	vm := s.vm(c, "web01")
	pc, err := property.DefaultCollector(c.Client).Create(ctx)
	must(t, err)
	s.fault(rule{"mode": "session-ended", "method": "CreateSnapshot_Task", "max": 1})
	_, err = vm.CreateSnapshot(ctx, "one", "", false, false)
	mustFail[types.NotAuthenticated](t, err)
	must(t, c.Login(ctx, s.url.User))
	_, err = pc.WaitForUpdates(ctx, "")
	mustFail[types.ManagedObjectNotFound](t, err)
	_, err = property.DefaultCollector(c.Client).WaitForUpdates(ctx, "-")
	mustFail[types.InvalidCollectorVersion](t, err)

	// Who waits is told.
	done := make(chan error, 1)
	go func() {
		done <- property.Wait(ctx, property.DefaultCollector(c.Client), vm.Reference(), []string{"name"},
			func([]types.PropertyChange) bool { return false })
	}()
	time.Sleep(100 * time.Millisecond)
	s.ask("DELETE", "/lab/sessions", nil, http.StatusOK)
	if err := <-done; err == nil || !strings.Contains(err.Error(), "RequestCanceled") {
		t.Fatalf("not told: %v", err)
	}

	must(t, c.Login(ctx, s.url.User))
	must(t, now(c))
	s.ask("PUT", "/lab/switches", rule{"session_seconds": 0.01}, http.StatusOK)
	time.Sleep(20 * time.Millisecond)
	mustFail[types.NotAuthenticated](t, now(c))
}

func TestSessionLimit(t *testing.T) {
	s := start(t)
	s.ask("PUT", "/lab/switches", rule{"session_limit": 1}, http.StatusOK)
	c := s.login()
	if _, err := s.client(time.Second); err == nil || !strings.Contains(err.Error(), "503") {
		t.Fatalf("a second session: %v", err)
	}
	must(t, now(c))
	s.ask("POST", "/rest/com/vmware/cis/session", nil, http.StatusServiceUnavailable)
	must(t, c.Logout(context.Background()))
	s.login()
	s.ask("PUT", "/lab/switches", rule{"session_limit": -1}, http.StatusBadRequest)
	s.ask("PUT", "/lab/switches", rule{"sessions": 1}, http.StatusBadRequest)
}

func TestDownAndRestarted(t *testing.T) {
	s := start(t, running("web01", 1<<20))
	c := s.login()
	vm := s.vm(c, "web01")
	task, err := vm.CreateSnapshot(context.Background(), "one", "", false, false)
	must(t, err)
	must(t, task.Wait(context.Background()))
	s.fault(rule{"mode": "down", "seconds": 60, "max": 1, "method": "RemoveAllSnapshots_Task", "restart": true, "forget_tasks": true})
	for _, call := range []func() error{
		func() error { _, err := vm.RemoveAllSnapshot(context.Background(), nil); return err },
		func() error { return now(c) },
	} {
		if err := call(); err == nil || !strings.Contains(err.Error(), "503") {
			t.Fatalf("not down: %v", err)
		}
	}
	s.mend() // ends it early
	mustFail[types.NotAuthenticated](t, now(c))
	must(t, c.Login(context.Background(), s.url.User))
	mustFail[types.ManagedObjectNotFound](t, task.Wait(context.Background()))
}

func TestTimeoutOfTheProxy(t *testing.T) {
	s := start(t, running("web01", 1<<20))
	c := s.login()
	vm := s.vm(c, "web01")
	s.fault(rule{"mode": "timeout", "seconds": 0.2, "method": "WaitForUpdatesEx"})
	err := property.Wait(context.Background(), property.DefaultCollector(c.Client), vm.Reference(), []string{"name"},
		func([]types.PropertyChange) bool { return false })
	if err == nil || !strings.Contains(err.Error(), "408") {
		t.Fatalf("no 408: %v", err)
	}
}

func TestMachineDeletedInTheMiddle(t *testing.T) {
	s := start(t, running("web01", 1<<20))
	c := s.login()
	vm := s.vm(c, "web01")
	task, err := vm.CreateSnapshot(context.Background(), "one", "", false, false)
	must(t, err)
	must(t, task.Wait(context.Background()))
	s.fault(rule{"mode": "vm-deleted", "method": "RemoveAllSnapshots_Task", "max": 1})
	_, err = vm.RemoveAllSnapshot(context.Background(), nil)
	mustFail[types.ManagedObjectNotFound](t, err)
	s.ask("GET", "/lab/vms/web01", nil, http.StatusNotFound)
	s.ask("DELETE", "/lab/vms/web01", nil, http.StatusNotFound)
}
