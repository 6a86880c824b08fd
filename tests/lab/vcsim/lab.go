package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	"migratekit.invalid/lab/vcsim/nfc"
)

// Lab is the simulator together with what we know about its virtual machines.
//
// Order of locks: vcsim's lock of a virtual machine, then vmState.mu. Nothing of vcsim is called under vmState.mu.
type Lab struct {
	model *simulator.Model
	store string // the directory of the datastore

	vsan *store // nil where there is none

	datacenter string // its name

	mu    sync.Mutex
	vms   map[types.ManagedObjectReference]*vmState
	calls map[string]int

	denials []denial

	faults taskFaults

	serial int // of the last call
	log    []*call
	gates  []*gateRule

	slowTasks int // so far

	space   space
	asBuilt spaceReport // what vcsim says

	sessions map[string]*liveSession // by key

	nfc      *nfc.Service
	nfcHosts map[types.ManagedObjectReference]*nfc.Host // complete before the first call
	locks    *fileLocks
	switches switches
}

const datastoreName = "LocalDS_0"

var (
	errNoVM      = errors.New("no such virtual machine")
	errAmbiguous = errors.New("several virtual machines have that name")
)

func newLab(inv *Inventory, datastore string) (*Lab, error) {
	base, err := filepath.Abs(datastore)
	if err != nil {
		return nil, err
	}
	lab := &Lab{
		store: filepath.Join(base, datastoreName),
		vms:   map[types.ManagedObjectReference]*vmState{},
		calls: map[string]int{},

		sessions: map[string]*liveSession{},
		switches: standardSwitches(),

		nfc:      nfc.NewService(),
		nfcHosts: map[types.ManagedObjectReference]*nfc.Host{},
		locks:    newFileLocks(),
	}
	if err := lab.build(inv); err != nil {
		lab.close()
		return nil, err
	}
	return lab, nil
}

func (l *Lab) registry() *simulator.Registry { return l.model.Map() }

func (l *Lab) close() {
	l.nfc.Close()
	if l.model != nil && l.model.Service != nil {
		l.model.Remove()
	}
	for _, vm := range l.states() {
		vm.close()
	}
}

func (l *Lab) put(vm *vmState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.vms[vm.ref] = vm
}

// state returns nil for a virtual machine that a client made itself: vcsim alone looks after that one.
func (l *Lab) state(ref types.ManagedObjectReference) *vmState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.vms[ref]
}

func (l *Lab) forget(ref types.ManagedObjectReference) {
	l.mu.Lock()
	vm := l.vms[ref]
	delete(l.vms, ref)
	l.mu.Unlock()
	if vm != nil {
		vm.close()
	}
}

func (l *Lab) states() []*vmState {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []*vmState
	for _, vm := range l.vms {
		all = append(all, vm)
	}
	slices.SortFunc(all, func(a, b *vmState) int { return strings.Compare(a.ref.Value, b.ref.Value) })
	return all
}

// find looks a virtual machine up by its managed object id or by its name.
func (l *Lab) find(name string) (*vmState, error) {
	var found []*vmState
	var ids []string
	for _, vm := range l.states() {
		if vm.ref.Value == name {
			return vm, nil
		}
		if vm.matches(name) {
			found, ids = append(found, vm), append(ids, vm.ref.Value)
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("%w: %s", errNoVM, name)
	case 1:
		return found[0], nil
	}
	return nil, fmt.Errorf("%w: %s is %s", errAmbiguous, name, strings.Join(ids, ", "))
}

func (l *Lab) count(method string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls[method]++
}

// freshContext is a context that shares no lock with any call.
func (l *Lab) freshContext() *simulator.Context {
	ctx := *l.model.Service.Context
	return &ctx
}
