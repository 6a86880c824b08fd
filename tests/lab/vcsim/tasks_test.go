package main

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

func (s *started) info(task *object.Task) types.TaskInfo {
	s.t.Helper()
	var found mo.Task
	must(s.t, task.Properties(context.Background(), task.Reference(), []string{"info"}, &found))
	return found.Info
}

func (s *started) wait(task *object.Task, err error) error {
	s.t.Helper()
	must(s.t, err)
	return task.Wait(context.Background())
}

func (s *started) until(what string, true func() bool) {
	s.t.Helper()
	for range 2000 {
		if true() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	s.t.Fatalf("never: %s", what)
}

func TestSilentTask(t *testing.T) {
	s := start(t, running("web01", 1<<20), running("other", 1<<20))
	vm, other := s.vm(s.login(), "web01"), s.vm(s.login(), "other")
	ctx := context.Background()
	s.fault(rule{"mode": "slow-task", "method": "CreateSnapshot_Task", "object": "web01", "seconds": 60, "max": 1})
	task, err := vm.CreateSnapshot(ctx, "one", "", false, false)
	must(t, err)
	if info := s.info(task); info.State != types.TaskInfoStateRunning || info.Progress != 0 || info.Name != "CreateSnapshot_Task" {
		t.Fatalf("%+v", info)
	}
	if s.properties(vm).Snapshot != nil { // the machine can be looked at meanwhile
		t.Fatal("done already")
	}
	again, err := vm.PowerOff(ctx)
	must(t, err)
	mustFail[types.TaskInProgress](t, again.Wait(ctx))
	mustFail[types.TaskInProgress](t, vm.ShutdownGuest(ctx))
	_, err = methods.CancelTask(ctx, vm.Client(), &types.CancelTask{This: task.Reference()})
	mustFail[types.NotSupported](t, err)
	must(t, s.wait(other.CreateSnapshot(ctx, "one", "", false, false)))
	s.mend() // ends it early
	must(t, task.Wait(ctx))
	if s.properties(vm).Snapshot == nil {
		t.Fatal("it did not do its work")
	}
	must(t, s.wait(vm.CreateSnapshot(ctx, "two", "", false, false)))

	// The tree is changed at once, and the task goes on.
	s.fault(rule{"mode": "slow-task", "method": "RemoveAllSnapshots_Task", "seconds": 20, "after": true, "progress": true})
	task, err = vm.RemoveAllSnapshot(ctx, nil)
	must(t, err)
	s.until("the tree is empty", func() bool { return s.properties(vm).Snapshot == nil })
	s.until("progress", func() bool { return s.info(task).Progress > 0 })
	if s.info(task).State != types.TaskInfoStateRunning {
		t.Fatal("ended")
	}
	s.mend()
	must(t, task.Wait(ctx))

	// What is vcsim's own as a rule can be slow, too; and what is slow can fail.
	s.fault(rule{"mode": "slow-task", "method": "PowerOffVM_Task", "seconds": 0.1, "max": 1})
	s.fault(rule{"task": true, "method": "PowerOffVM_Task", "fault": "InvalidState", "max": 1})
	mustFail[types.InvalidState](t, s.wait(vm.PowerOff(ctx)))
	must(t, s.wait(vm.PowerOff(ctx)))
	s.ask("POST", "/lab/faults", rule{"mode": "slow-task", "method": "*"}, http.StatusBadRequest)
}

func TestTaskWhoseMachineIsDeleted(t *testing.T) {
	s := start(t, running("web01", 1<<20))
	vm := s.vm(s.login(), "web01")
	s.fault(rule{"mode": "slow-task", "method": "CreateSnapshot_Task", "seconds": 60})
	task, err := vm.CreateSnapshot(context.Background(), "one", "", false, false)
	must(t, err)
	s.ask("DELETE", "/lab/vms/web01", nil, http.StatusOK)
	mustFail[types.ManagedObjectNotFound](t, task.Wait(context.Background()))
}

func TestQuestion(t *testing.T) {
	s := start(t, running("web01", 1<<20))
	vm := s.vm(s.login(), "web01")
	ctx := context.Background()
	must(t, s.wait(vm.PowerOff(ctx)))
	s.fault(rule{"mode": "question", "method": "PowerOnVM_Task", "max": 2})
	for _, answer := range []string{"0", "2"} {
		task, err := vm.PowerOn(ctx)
		must(t, err)
		s.until("a question", func() bool { return s.properties(vm).Runtime.Question != nil })
		asked := s.properties(vm).Runtime.Question
		if s.info(task).State != types.TaskInfoStateRunning || len(asked.Choice.ChoiceInfo) != 3 || asked.Choice.DefaultIndex != 2 {
			t.Fatalf("%+v", asked)
		}
		mustFail[types.TaskInProgress](t, s.wait(vm.CreateSnapshot(ctx, "one", "", false, false)))
		mustFail[types.InvalidArgument](t, vm.Answer(ctx, asked.Id, "9"))
		mustFail[types.ConcurrentAccess](t, vm.Answer(ctx, "another", answer))
		must(t, vm.Answer(ctx, asked.Id, answer))
		if answer == "0" {
			mustFail[types.GenericVmConfigFault](t, task.Wait(ctx))
		} else {
			must(t, task.Wait(ctx))
		}
		s.until("no question", func() bool { return s.properties(vm).Runtime.Question == nil })
	}
}

func TestConsolidation(t *testing.T) {
	s := start(t, running("web01", 1<<20))
	vm := s.vm(s.login(), "web01")
	ctx := context.Background()
	layers := func() int {
		return len(s.ask("GET", "/lab/vms/web01", nil, 200)["disks"].([]any)[0].(map[string]any)["layers"].([]any))
	}
	needed := func(want bool) {
		t.Helper()
		if got := s.properties(vm).Runtime.ConsolidationNeeded; got != want || (layers() > 1) != want {
			t.Fatalf("consolidation needed: %v, %d layers", got, layers())
		}
	}
	s.fault(rule{"mode": "consolidation-needed", "method": "RemoveAllSnapshots_Task", "max": 1})
	s.fault(rule{"mode": "consolidation-needed", "method": "RemoveAllSnapshots_Task", "fault": "FileLocked", "max": 1})
	s.fault(rule{"task": true, "method": "ConsolidateVMDisks_Task", "fault": "ConcurrentAccess", "max": 1})
	consolidate := func() error {
		res, err := methods.ConsolidateVMDisks_Task(ctx, vm.Client(), &types.ConsolidateVMDisks_Task{This: vm.Reference()})
		must(t, err)
		return object.NewTask(vm.Client(), res.Returnval).Wait(ctx)
	}
	must(t, s.wait(vm.CreateSnapshot(ctx, "one", "", false, false)))
	s.ask("PUT", "/lab/vms/web01/disks/0?offset=100", []byte("kept"), http.StatusOK)
	must(t, s.wait(vm.RemoveAllSnapshot(ctx, nil)))
	needed(true)
	if s.properties(vm).Snapshot != nil {
		t.Fatal("the snapshot stayed")
	}
	mustFail[types.ConcurrentAccess](t, consolidate())
	needed(true)
	must(t, consolidate())
	needed(false)

	must(t, s.wait(vm.CreateSnapshot(ctx, "two", "", false, false)))
	mustFail[types.FileLocked](t, s.wait(vm.RemoveAllSnapshot(ctx, nil)))
	needed(true)
	must(t, consolidate())
	no := false
	must(t, s.wait(vm.CreateSnapshot(ctx, "three", "", false, false)))
	must(t, s.wait(vm.RemoveAllSnapshot(ctx, &no)))
	needed(true)
	must(t, consolidate())
	needed(false)
}
