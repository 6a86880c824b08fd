package main

import (
	"fmt"
	"reflect"
	"slices"
	"sync"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// faultRule is what POST /lab/faults takes.
type faultRule struct {
	Method  string `json:"method"`
	Object  string `json:"object"`
	Fault   string `json:"fault"`
	Message string `json:"message"`
	Max     int    `json:"max"`      // how often; 0 means always
	Skip    int    `json:"skip"`     // how many calls go through first
	DelayMS int    `json:"delay_ms"` // before the fault is answered
	Task    bool   `json:"task"`     // the call works and its task fails; only for tasks of the lab

	Mode        string  `json:"mode,omitempty"`         // of a rule that breaks the call itself; see gateModes
	Type        string  `json:"type,omitempty"`         // only calls about objects of this type
	Property    string  `json:"property,omitempty"`     // only calls that ask for this one
	Status      int     `json:"status,omitempty"`       // of HTTP
	Text        string  `json:"text,omitempty"`         // the body that comes with it
	Seconds     float64 `json:"seconds,omitempty"`      // how late, or for how long
	After       bool    `json:"after,omitempty"`        // the work is done first
	Restart     bool    `json:"restart,omitempty"`      // "down": connections are cut and sessions lost
	ForgetTasks bool    `json:"forget_tasks,omitempty"` // "down": and nobody knows the tasks any more

	Progress bool     `json:"progress,omitempty"` // "slow-task": it says how far it is
	Choices  []string `json:"choices,omitempty"`  // "question": the first one cancels
}

// taskFaults are the rules for tasks, which vcsim's injector cannot reach: it fails calls.
type taskFaults struct {
	mu    sync.Mutex
	rules []*taskRule
}

type taskRule struct {
	faultRule
	seen int
	hits int
}

func (l *Lab) addFault(rule faultRule) error {
	if rule.Method == "" {
		return fmt.Errorf("method is missing")
	}
	if _, gate := gateModes[rule.Mode]; gate {
		return l.addGateRule(rule)
	}
	if rule.Mode != "" && !slices.Contains(taskModes, rule.Mode) {
		return fmt.Errorf("no mode %q", rule.Mode)
	}
	if rule.Mode == "slow-task" && rule.Seconds <= 0 {
		return fmt.Errorf("slow-task needs seconds")
	}
	if _, err := newFault(rule, types.ManagedObjectReference{}); err != nil && (rule.Mode == "" || rule.Fault != "") {
		return err
	}
	if rule.Task || rule.Mode != "" {
		l.faults.mu.Lock()
		defer l.faults.mu.Unlock()
		l.faults.rules = append(l.faults.rules, &taskRule{faultRule: rule})
		return nil
	}
	injected := &simulator.FaultInjectionRule{
		MethodName: rule.Method, ObjectType: "*", ObjectName: "*", Probability: 1, Enabled: true,
		FaultType: simulator.FaultTypeCustom, Message: rule.Message,
		MaxCount: rule.Max, SkipCount: rule.Skip, Delay: rule.DelayMS,
	}
	// vcsim's ready-made faults do not do: some carry a type that pyvmomi does not know, and the others name our stand-in
	// instead of the object. So each fault is made when the object is known.
	injected.InclusionPropertyFilter = func(obj mo.Reference) bool {
		if rule.Object != "*" && !l.concerns(obj, rule.Object) {
			return false
		}
		injected.Fault, _ = newFault(rule, obj.Reference())
		return true
	}
	l.model.Service.AddFaultRule(injected)
	return nil
}

func (l *Lab) clearFaults() {
	l.model.Service.ClearFaultRules()
	l.mu.Lock()
	l.gates = nil
	l.mu.Unlock()
	l.faults.mu.Lock()
	defer l.faults.mu.Unlock()
	l.faults.rules = nil
}

// concerns says whether an object is the one with that name or id, or a snapshot of the machine with it.
func (l *Lab) concerns(obj mo.Reference, name string) bool {
	if obj.Reference().Value == name {
		return true
	}
	ref := obj.Reference()
	switch o := obj.(type) {
	case *snapshot:
		ref = o.Vm
	case *nfcService:
		ref = o.vm
	case *simulator.VirtualMachineSnapshot:
		ref = o.Vm
	case mo.Entity:
		if o.Entity().Name == name {
			return true
		}
	}
	vm := l.state(ref)
	return vm != nil && vm.matches(name)
}

// matches takes a managed object id, the name as the API has it, and the name as the vSphere Client shows it.
func (vm *vmState) matches(name string) bool {
	label := vm.label()
	return vm.ref.Value == name || label == name || label == escaped(name)
}

// newFault makes any fault of the vSphere API by its name.
func newFault(rule faultRule, object types.ManagedObjectReference) (types.BaseMethodFault, error) {
	name := rule.Fault
	switch name {
	case "Generic", "NetworkFailure", "Timeout":
		name = "SystemError"
	}
	typ, ok := types.TypeFunc()(name)
	if !ok || typ.Kind() != reflect.Struct {
		return nil, fmt.Errorf("vSphere has no fault %q", rule.Fault)
	}
	value := reflect.New(typ)
	fault, ok := value.Interface().(types.BaseMethodFault)
	if !ok {
		return nil, fmt.Errorf("%s is not a fault", rule.Fault)
	}
	fillFault(value.Elem(), rule, object)
	if rule.Message != "" {
		fault.GetMethodFault().FaultMessage = []types.LocalizableMessage{{Key: "lab", Message: rule.Message}}
	}
	return fault, nil
}

// fillFault gives a fault's fields what belongs into them; clients cannot read one without its required references.
func fillFault(v reflect.Value, rule faultRule, object types.ManagedObjectReference) {
	for i := range v.NumField() {
		field, name := v.Field(i), v.Type().Field(i).Name
		switch into := field.Addr().Interface().(type) {
		case *types.ManagedObjectReference:
			*into = object
			if name == "Task" {
				*into = types.ManagedObjectReference{Type: "Task", Value: "task-0"}
			}
		case **types.ManagedObjectReference:
			*into = &object
		case *string:
			*into = map[string]string{"PrivilegeId": "System.Modify", "Method": rule.Method, "Reason": rule.Message, "Name": rule.Message}[name]
		case *types.VirtualMachinePowerState:
			*into = map[string]types.VirtualMachinePowerState{"ExistingState": types.VirtualMachinePowerStatePoweredOn}[name]
		case *types.MethodFault:
		default:
			if field.Kind() == reflect.Struct {
				fillFault(field, rule, object)
			}
		}
	}
}
