package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// space is what is free on the datastore. Only deltas take of it: base files have all of theirs from the beginning.
type space struct {
	mu       sync.Mutex
	limited  bool
	free     int64
	capacity int64 // as shown
}

// take takes so much, if there is so much.
func (sp *space) take(bytes int64) bool {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	if sp.limited && bytes > sp.free {
		return false
	}
	sp.free -= bytes
	return true
}

func (sp *space) left() (free, capacity int64, limited bool) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	return max(sp.free, 0), sp.capacity, sp.limited
}

func (l *Lab) limited() bool {
	_, _, limited := l.space.left()
	return limited
}

// settle books what the deltas of a machine take now, after one was made, merged or dropped; the lock is held.
func (vm *vmState) settle() {
	held := int64(0)
	for _, d := range vm.disks {
		held += d.DeltaBytes()
	}
	vm.space.mu.Lock()
	defer vm.space.mu.Unlock()
	vm.space.free -= held - vm.taken
	vm.taken = held
}

// grow takes the space for a write of the guest, which is refused if there is none left; the lock is held.
func (vm *vmState) grow(disk *vmDisk, offset, length int64) bool {
	need := disk.Growth(offset, length)
	if need == 0 {
		return true
	}
	if !vm.space.take(need) {
		return false
	}
	vm.taken += need
	return true
}

const outOfSpaceText = "msg.hbacommon.outofspace:The datastore has no space left for the virtual disk %s. Free some and retry, or cancel, which ends the virtual machine."

// outOfSpace stops a machine that could not write: it is still on, and asks what shall be done.
func (l *Lab) outOfSpace(vm *vmState, file string) {
	l.pose(vm, question{text: fmt.Sprintf(outOfSpaceText, file), choices: []string{"_Retry", "Cancel"}, answered: func(choice int) {
		switch free, _, limited := vm.space.left(); {
		case choice == 1:
			l.powerOff(vm)
		case limited && free == 0:
			l.outOfSpace(vm, file)
		}
	}})
}

func (l *Lab) powerOff(vm *vmState) {
	ctx := l.freshContext()
	if sim, ok := l.registry().Get(vm.ref).(*simulator.VirtualMachine); ok {
		unlock := l.registry().AcquireLock(ctx, vm.ref)
		defer unlock()
		_, _ = l.inner(sim.PowerOffVMTask(ctx, &types.PowerOffVM_Task{This: vm.ref}))
	}
}

// datastore stands in for the datastore while its space is limited. What it shows is as old as the last refresh.
type datastore struct {
	*simulator.Datastore
	lab *Lab
}

// RefreshDatastore shows what is free now.
func (d *datastore) RefreshDatastore(ctx *simulator.Context, _ *types.RefreshDatastore) soap.HasFault {
	d.lab.showSpace(ctx, d.Datastore)
	return &methods.RefreshDatastoreBody{Res: new(types.RefreshDatastoreResponse)}
}

// RefreshDatastoreStorageInfo is the same; vcsim does not have it.
func (d *datastore) RefreshDatastoreStorageInfo(ctx *simulator.Context, _ *types.RefreshDatastoreStorageInfo) soap.HasFault {
	d.lab.showSpace(ctx, d.Datastore)
	return &methods.RefreshDatastoreStorageInfoBody{Res: new(types.RefreshDatastoreStorageInfoResponse)}
}

func (l *Lab) showSpace(ctx *simulator.Context, store *simulator.Datastore) {
	free, capacity, _ := l.space.left()
	ctx.WithLock(store, func() {
		changes := []types.PropertyChange{
			{Name: "summary.freeSpace", Val: free}, {Name: "summary.capacity", Val: capacity}, {Name: "info.freeSpace", Val: free},
		}
		if vmfs, ok := store.Info.(*types.VmfsDatastoreInfo); ok {
			info, now := *vmfs, time.Now()
			info.FreeSpace, info.Timestamp = free, &now
			if vmfs.Vmfs != nil {
				volume := *vmfs.Vmfs
				volume.Capacity = capacity
				info.Vmfs = &volume
			}
			changes[2] = types.PropertyChange{Name: "info", Val: &info}
		}
		ctx.Update(store, changes)
	})
}

// RefreshStorageInfo shows the sizes of the machine's files as they are now.
func (m *machine) RefreshStorageInfo(ctx *simulator.Context, req *types.RefreshStorageInfo) soap.HasFault {
	answer := m.VirtualMachine.RefreshStorageInfo(ctx, req)
	m.lab.showFiles(ctx, m.vm, m.VirtualMachine)
	return answer
}

func (l *Lab) datastore() *simulator.Datastore {
	for _, obj := range l.registry().All("Datastore") {
		if store, ok := obj.(*simulator.Datastore); ok && store.Name == datastoreName {
			return store
		}
	}
	return nil
}

type spaceReport struct {
	Limited  bool  `json:"limited"`
	Free     int64 `json:"free_bytes"` // what nobody has to refresh to see
	Capacity int64 `json:"capacity_bytes"`
}

func (s *server) labSpace(http.ResponseWriter, *http.Request) (any, error) {
	free, capacity, limited := s.lab.space.left()
	return spaceReport{limited, free, capacity}, nil
}

// labLimitSpace says how much is free now, and how large the datastore is.
func (s *server) labLimitSpace(w http.ResponseWriter, r *http.Request) (any, error) {
	var given struct {
		Free     *int64 `json:"free_bytes"`
		Capacity int64  `json:"capacity_bytes"`
	}
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&given); err != nil {
		return nil, fail(http.StatusBadRequest, "%v", err)
	}
	if given.Free == nil || *given.Free < 0 || given.Capacity < *given.Free {
		return nil, fail(http.StatusBadRequest, "free_bytes and capacity_bytes are needed, the first not above the second")
	}
	s.lab.limitSpace(true, *given.Free, given.Capacity)
	return s.labSpace(w, r)
}

func (s *server) labUnlimitSpace(w http.ResponseWriter, r *http.Request) (any, error) {
	s.lab.limitSpace(false, s.lab.asBuilt.Free, s.lab.asBuilt.Capacity)
	return s.labSpace(w, r)
}

func (l *Lab) limitSpace(limited bool, free, capacity int64) {
	l.space.mu.Lock()
	l.space.limited, l.space.free, l.space.capacity = limited, free, capacity
	l.space.mu.Unlock()
	if store := l.datastore(); store != nil {
		l.showSpace(l.freshContext(), store)
	}
}
