package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// taskModes are the modes of rules that change what a task does, not its call.
var taskModes = []string{"slow-task", "question", "consolidation-needed"}

// taskPlan is what the rules say about one task.
type taskPlan struct {
	fault    types.BaseMethodFault // that it ends with instead of working
	slow     *faultRule
	question *faultRule
}

// planTask asks the rules about a task that begins.
func (l *Lab) planTask(method string, vm *vmState) taskPlan {
	var plan taskPlan
	if rule := l.taskRule("", method, vm); rule != nil {
		plan.fault, _ = newFault(*rule, vm.ref)
	}
	plan.slow = l.taskRule("slow-task", method, vm)
	plan.question = l.taskRule("question", method, vm)
	return plan
}

// taskRule is the first rule of a mode that applies to a task, nil for none; it counts this task.
func (l *Lab) taskRule(mode, method string, vm *vmState) *faultRule {
	l.faults.mu.Lock()
	defer l.faults.mu.Unlock()
	for _, r := range l.faults.rules {
		if r.Mode != mode || (r.Method != "*" && r.Method != method) || (r.Object != "*" && !vm.matches(r.Object)) {
			continue
		}
		if r.seen++; r.seen > r.Skip && (r.Max == 0 || r.seen <= r.Skip+r.Max) {
			r.hits++
			return &r.faultRule
		}
	}
	return nil
}

// interesting says whether a method that is vcsim's own has to be the lab's task this time.
func (l *Lab) interesting(method string, vm *vmState) bool {
	if vm.obstacle(method) != nil {
		return true
	}
	l.faults.mu.Lock()
	defer l.faults.mu.Unlock()
	return slices.ContainsFunc(l.faults.rules, func(r *taskRule) bool { return r.Method == "*" || r.Method == method })
}

// obstacle is why a machine cannot begin anything now: another long task, or a question that nobody has answered.
func (vm *vmState) obstacle(method string) types.BaseMethodFault {
	vm.mu.RLock()
	defer vm.mu.RUnlock()
	if vm.busy != nil {
		return &types.TaskInProgress{Task: *vm.busy}
	}
	if vm.question != nil && method != "PowerOffVM_Task" {
		return &types.QuestionPending{Text: vm.question.text}
	}
	if file := vm.liveOpen(); file != "" && method == "PowerOnVM_Task" {
		return fileLocked(file)
	}
	return nil
}

// claim makes a task the one that the machine is busy with.
func (vm *vmState) claim(task types.ManagedObjectReference) types.BaseMethodFault {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	if vm.busy != nil {
		return &types.TaskInProgress{Task: *vm.busy}
	}
	vm.busy = &task
	return nil
}

func (vm *vmState) unclaim() {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	vm.busy = nil
}

// slowTask is a task that goes on for a while. Nothing is locked meanwhile, so that the machine can be looked at.
type slowTask struct {
	*simulator.Task
	lab  *Lab
	vm   *vmState
	plan taskPlan
	do   work
}

// startSlowTask runs a task as planned. vcsim's own way would hold the machine's lock all the time.
func (l *Lab) startSlowTask(ctx *simulator.Context, vm *vmState, task *simulator.Task, plan taskPlan, do work) types.ManagedObjectReference {
	l.mu.Lock()
	l.slowTasks++
	task.Self = types.ManagedObjectReference{Type: "Task", Value: fmt.Sprintf("task-%d", 1_000_000+l.slowTasks)}
	l.mu.Unlock()
	task.Info.Key, task.Info.Task = task.Self.Value, task.Self
	unlock := l.registry().AcquireLock(ctx, vm.ref) // its recentTask changes
	l.registry().Put(task)
	unlock()
	t := &slowTask{task, l, vm, plan, do}
	t.update(types.PropertyChange{Name: "info.startTime", Val: time.Now()}, types.PropertyChange{Name: "info.state", Val: types.TaskInfoStateRunning})
	fault := vm.claim(task.Self)
	go func() {
		var result types.AnyType
		if fault == nil {
			result, fault = t.run(ctx)
			vm.unclaim()
		}
		t.end(result, fault)
	}()
	return task.Self
}

func (t *slowTask) run(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault) {
	if t.plan.question != nil {
		if fault := t.ask(t.plan.question); fault != nil {
			return nil, fault
		}
	}
	slow := t.plan.slow
	if slow != nil && !slow.After {
		t.pass(slow)
	}
	if t.plan.fault != nil {
		return nil, t.plan.fault
	}
	unlock := t.lab.registry().AcquireLock(ctx, t.vm.ref)
	if t.lab.registry().Get(t.vm.ref) == nil {
		unlock()
		return nil, &types.ManagedObjectNotFound{Obj: t.vm.ref}
	}
	result, fault := t.do()
	unlock()
	if slow != nil && slow.After && fault == nil {
		t.pass(slow)
	}
	return result, fault
}

// stands says whether a rule has not been taken back.
func (l *Lab) stands(rule *faultRule) bool {
	l.faults.mu.Lock()
	defer l.faults.mu.Unlock()
	return slices.ContainsFunc(l.faults.rules, func(r *taskRule) bool { return &r.faultRule == rule })
}

// pass lets time pass: in silence, or in ten steps of progress. It ends at once with its machine, and with its rule.
func (t *slowTask) pass(rule *faultRule) {
	end := time.Now().Add(time.Duration(rule.Seconds * float64(time.Second)))
	step := int32(-1)
	for time.Now().Before(end) && t.lab.state(t.vm.ref) == t.vm && t.lab.stands(rule) {
		done := 10 - int32(time.Until(end).Seconds()/rule.Seconds*10)
		if rule.Progress && done != step {
			step = done
			t.update(types.PropertyChange{Name: "info.progress", Val: min(step*10, 99)})
		}
		time.Sleep(min(10*time.Millisecond, time.Until(end)))
	}
}

func (t *slowTask) end(result types.AnyType, fault types.BaseMethodFault) {
	state, failure := types.TaskInfoStateSuccess, any(nil)
	if fault != nil {
		state, failure = types.TaskInfoStateError, types.LocalizedMethodFault{Fault: fault, LocalizedMessage: describe(fault)}
	}
	t.update(types.PropertyChange{Name: "info.completeTime", Val: time.Now()}, types.PropertyChange{Name: "info.state", Val: state},
		types.PropertyChange{Name: "info.result", Val: result}, types.PropertyChange{Name: "info.error", Val: failure})
}

func (t *slowTask) update(changes ...types.PropertyChange) {
	t.lab.registry().AtomicUpdate(t.lab.freshContext(), t.Task, changes)
}
