package main

import (
	"fmt"
	"log"
	"reflect"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// work is what a task does. It runs with the machine's lock held on behalf of the call's context.
type work func() (types.AnyType, types.BaseMethodFault)

// startTask runs work as a task of the machine.
// vcsim's own task runs within it (see inner), so that success is only seen once our state is consistent too.
func (l *Lab) startTask(ctx *simulator.Context, vm *vmState, name, method string, do work) types.ManagedObjectReference {
	plan := l.planTask(method, vm)
	if obstacle := vm.obstacle(method); obstacle != nil {
		plan = taskPlan{fault: obstacle}
	}
	task := simulator.CreateTask(vm.ref, name, func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
		if plan.fault != nil {
			return nil, plan.fault
		}
		return do()
	})
	task.Info.Name, task.Info.EntityName = method, vm.label()
	if plan.slow != nil || plan.question != nil {
		return l.startSlowTask(ctx, vm, task, plan, do)
	}
	// The machine's recentTask changes before the task has taken the lock; a call to a snapshot does not hold it yet.
	unlock := l.registry().AcquireLock(ctx, vm.ref)
	defer unlock()
	return task.Run(ctx)
}

// inner waits for the task that vcsim started on our behalf. It shares our lock, for it has the same context.
func (l *Lab) inner(response soap.HasFault) (types.AnyType, types.BaseMethodFault) {
	if f := response.Fault(); f != nil {
		if fault, ok := f.VimFault().(types.BaseMethodFault); ok {
			return nil, fault
		}
		return nil, &types.SystemError{Reason: f.String}
	}
	ref := reflect.ValueOf(response).Elem().FieldByName("Res").Elem().FieldByName("Returnval")
	task, ok := l.registry().Get(ref.Interface().(types.ManagedObjectReference)).(*simulator.Task)
	if !ok {
		return nil, &types.SystemError{Reason: "the simulator's task is gone"}
	}
	task.Wait()
	if task.Info.Error != nil {
		return nil, task.Info.Error.Fault
	}
	return task.Info.Result, nil
}

// diskFault is how vSphere reports that it could not work on the files of a machine.
func diskFault(vm *vmState, err error) types.BaseMethodFault {
	log.Printf("%s: %v", vm.ref.Value, err)
	fault := &types.FileFault{File: vmfsPath(vm, fileNames.Replace(vm.spec.Name)+".vmx")}
	fault.FaultMessage = []types.LocalizableMessage{{Key: "lab", Message: err.Error()}}
	return fault
}

func invalidState(message string) types.BaseMethodFault {
	fault := new(types.InvalidState)
	fault.FaultMessage = []types.LocalizableMessage{{Key: "lab", Message: message}}
	return fault
}

func vmfsPath(vm *vmState, file string) string {
	return fmt.Sprintf("/vmfs/volumes/%s/%s/%s", volumeUUID, vm.dir, file)
}
