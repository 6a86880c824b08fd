package main

import (
	"reflect"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// machineMethods and snapshotMethods are the calls that the lab answers itself. Everything else stays vcsim's.
var (
	machineMethods = map[string]bool{
		"CreateSnapshot_Task": true, "CreateSnapshotEx_Task": true, "RemoveAllSnapshots_Task": true,
		"RevertToCurrentSnapshot_Task": true, "ConsolidateVMDisks_Task": true,
		"ReconfigVM_Task": true, "QueryChangedDiskAreas": true, "ShutdownGuest": true, "AnswerVM": true,
	}
	snapshotMethods = map[string]bool{"RemoveSnapshot_Task": true, "RevertToSnapshot_Task": true}
)

// machine stands in for a virtual machine of the inventory.
type machine struct {
	*simulator.VirtualMachine
	lab *Lab
	vm  *vmState
}

// snapshot stands in for a snapshot of such a machine.
type snapshot struct {
	*simulator.VirtualMachineSnapshot
	lab *Lab
	vm  *vmState
}

// Lock and Unlock keep vcsim from holding the snapshot's lock while it calls our methods. They wait for the machine's
// lock, and a task that holds that one takes the snapshot's to update it: that would be a deadlock.
func (*snapshot) Lock() {}

// Unlock belongs to Lock.
func (*snapshot) Unlock() {}

// handle is the registry's hook: it sees every call before vcsim looks for the object that shall answer.
func (l *Lab) handle(ctx *simulator.Context, method *simulator.Method) (mo.Reference, types.BaseMethodFault) {
	l.count(method.Name)
	ownReference(method)
	fault := l.authorize(ctx, method)
	switch {
	case fault != nil:
		return nil, fault
	case ctx.Session == nil && method.Name == "Login":
		return &sessionManager{l.registry().SessionManager(), l}, nil
	case ctx.Session == nil:
		return nil, nil
	case l.staleVersion(ctx, method):
		return nil, new(types.InvalidCollectorVersion)
	}
	stand := l.standInForCollector(ctx, method)
	if stand == nil {
		stand = l.standInForNFC(method)
	}
	switch obj := l.registry().Get(method.This).(type) {
	case *simulator.Task:
		if method.Name == "CancelTask" && !obj.Info.Cancelable {
			return nil, new(types.NotSupported)
		}
	case *simulator.Datastore:
		if l.limited() && obj.Name == datastoreName {
			stand = &datastore{obj, l}
		}
	case *simulator.AuthorizationManager:
		if method.Name == "HasPrivilegeOnEntities" {
			stand = &authorization{obj, l}
		}
	case *simulator.VirtualMachine:
		vm := l.state(method.This)
		if vm != nil && (machineMethods[method.Name] || (method.Name == "RefreshStorageInfo" && l.limited()) || (powerMethods[method.Name] && l.interesting(method.Name, vm))) {
			stand = &machine{obj, l, vm}
		}
	case *simulator.VirtualMachineSnapshot:
		if vm := l.state(obj.Vm); vm != nil && snapshotMethods[method.Name] {
			stand = &snapshot{obj, l, vm}
		}
	}
	if stand != nil {
		// With a session, vcsim prefers the registered object to the hook's answer. A reference that names the
		// server is not in its registry, so there our answer stands; in a fault it still is a true reference.
		method.This.ServerGUID = serverGUID
	}
	return stand, nil
}

// ownReference makes a reference that we have handed out with our server's name one of vcsim's again.
func ownReference(method *simulator.Method) {
	if method.This.ServerGUID != "" {
		method.This.ServerGUID = ""
		this := reflect.ValueOf(method.Body).Elem().FieldByName("This")
		if ref, ok := this.Addr().Interface().(*types.ManagedObjectReference); ok {
			ref.ServerGUID = ""
		}
	}
}

const serverGUID = "8d0b7c5e-1f0a-4f5e-9a53-6d6967726174"

// authorize closes what vcsim leaves open: properties without a session, and logins that check nothing. vSphere
// shows a stranger the service instance and no more.
func (l *Lab) authorize(ctx *simulator.Context, method *simulator.Method) types.BaseMethodFault {
	switch method.Name {
	case "LoginByToken", "LoginExtensionByCertificate":
		return new(types.InvalidLogin)
	}
	if ctx.Session != nil {
		return nil
	}
	var asked []types.ManagedObjectReference
	switch body := method.Body.(type) {
	case *types.RetrieveProperties:
		asked = objectsOf(body.SpecSet)
	case *types.RetrievePropertiesEx:
		asked = objectsOf(body.SpecSet)
	default:
		if method.Name == "Fetch" { // its type is internal to vcsim
			this := reflect.ValueOf(method.Body).Elem().FieldByName("This")
			asked = append(asked, this.Interface().(types.ManagedObjectReference))
		}
	}
	for i := range asked {
		if asked[i].Type != "ServiceInstance" && asked[i].Type != "SessionManager" {
			return &types.NotAuthenticated{NoPermission: types.NoPermission{Object: &asked[i], PrivilegeId: "System.View"}}
		}
	}
	return nil
}

func objectsOf(specs []types.PropertyFilterSpec) []types.ManagedObjectReference {
	var refs []types.ManagedObjectReference
	for _, spec := range specs {
		for _, o := range spec.ObjectSet {
			refs = append(refs, o.Obj)
		}
	}
	return refs
}
