package main

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// switches are what vCenter is like as a whole.
type switches struct {
	SessionLimit   int     `json:"session_limit"`   // so many sessions and no more; 0: any number
	SessionSeconds float64 `json:"session_seconds"` // a session older than this is ended at its next call; 0: never

	Allocated     string `json:"allocated"`       // what QueryChangedDiskAreas("*") answers: "areas", "whole", "none", "refused"
	LiveChangeIDs bool   `json:"live_change_ids"` // the disks of a machine carry change ids, not only those of snapshots
}

func standardSwitches() switches { return switches{Allocated: "areas"} }

func (sw switches) check() error {
	if sw.SessionLimit < 0 || sw.SessionSeconds < 0 {
		return fmt.Errorf("a limit is negative")
	}
	return oneOf("allocated", &sw.Allocated, []string{"areas", "whole", "none", "refused"})
}

func (s *server) labSwitches(http.ResponseWriter, *http.Request) (any, error) {
	s.lab.mu.Lock()
	defer s.lab.mu.Unlock()
	return s.lab.switches, nil
}

// labSwitch sets those that are given; the others stay as they are.
func (s *server) labSwitch(w http.ResponseWriter, r *http.Request) (any, error) {
	s.lab.mu.Lock()
	next := s.lab.switches
	s.lab.mu.Unlock()
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&next); err != nil {
		return nil, fail(http.StatusBadRequest, "%v", err)
	}
	if err := next.check(); err != nil {
		return nil, fail(http.StatusBadRequest, "%v", err)
	}
	s.lab.set(next)
	return next, nil
}

func (s *server) labSwitchBack(http.ResponseWriter, *http.Request) (any, error) {
	s.lab.set(standardSwitches())
	return standardSwitches(), nil
}

func (l *Lab) set(next switches) {
	l.mu.Lock()
	l.switches = next
	l.mu.Unlock()
	for _, vm := range l.states() {
		l.refresh(l.freshContext(), vm)
	}
}

func (l *Lab) standing() switches {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.switches
}

func (s *server) labSessions(http.ResponseWriter, *http.Request) (any, error) {
	return map[string]any{"sessions": s.lab.sessionKeys()}, nil
}

// labEndSessions ends all sessions, as an administrator does.
func (s *server) labEndSessions(http.ResponseWriter, *http.Request) (any, error) {
	return map[string]int{"ended": s.lab.endAllSessions()}, nil
}

// labDeleteVM deletes a machine whatever it does, as happens on the host when vCenter is not asked.
func (s *server) labDeleteVM(_ http.ResponseWriter, r *http.Request) (any, error) {
	vm, err := s.lab.find(r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	s.lab.deleteVM(vm)
	return map[string]any{}, nil
}

// deleteVM takes a machine and its snapshots out of the inventory. A task that is at work ends first.
func (l *Lab) deleteVM(vm *vmState) {
	ctx := l.freshContext()
	unlock := l.registry().AcquireLock(ctx, vm.ref)
	defer unlock()
	sim, ok := l.registry().Get(vm.ref).(*simulator.VirtualMachine)
	if !ok {
		return
	}
	if sim.Snapshot != nil {
		for _, ref := range treeRefs(sim.Snapshot.RootSnapshotList) {
			l.registry().Remove(ctx, ref)
		}
	}
	if sim.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOff {
		_, _ = l.inner(sim.PowerOffVMTask(ctx, &types.PowerOffVM_Task{This: vm.ref}))
	}
	sim.UnregisterVM(ctx, &types.UnregisterVM{This: vm.ref})
}

// forgetTasks removes the tasks that are known; their work goes on.
func (l *Lab) forgetTasks() {
	ctx := l.freshContext()
	manager, ok := l.registry().Get(*l.model.ServiceContent.TaskManager).(*simulator.TaskManager)
	if !ok {
		return
	}
	for _, ref := range manager.RecentTask {
		l.registry().Remove(ctx, ref)
	}
	none := []types.PropertyChange{{Name: "recentTask", Val: []types.ManagedObjectReference{}}}
	ctx.WithLock(manager, func() { ctx.Update(manager, none) })
	for _, vm := range l.states() {
		if sim, ok := l.registry().Get(vm.ref).(*simulator.VirtualMachine); ok {
			ctx.WithLock(sim, func() { ctx.Update(sim, none) })
		}
	}
}
