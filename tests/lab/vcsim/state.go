package main

import (
	"os"
	"sync"

	"github.com/vmware/govmomi/vim25/types"

	"migratekit.invalid/lab/vcsim/blockdisk"
)

// vmState is what we keep about one virtual machine. The lock guards all of its disks, so that a snapshot cuts all
// of them at one instant, between two writes of the guest.
type vmState struct {
	ref   types.ManagedObjectReference
	dir   string // of its files, below the datastore
	spec  VMSpec
	store *store
	space *space // of the datastore
	locks *fileLocks

	mu        sync.RWMutex
	name      string
	poweredOn bool
	disks     []*vmDisk
	taken     int64                                   // by deltas
	points    map[types.ManagedObjectReference]points // by snapshot
	vmsn      map[types.ManagedObjectReference]string // the file that vcsim made for a snapshot

	busy      *types.ManagedObjectReference // the long task that is at work
	question  *question                     // that waits for an answer
	questions int                           // so far
	leftovers []points                      // of snapshots that are gone: disks in need of consolidation

	cbt     bool // what config.changeTrackingEnabled says
	pending bool // switched on while running: effective at the next stun
}

// vmDisk is a disk and the virtual device that shows it.
type vmDisk struct {
	*blockdisk.Disk
	key int32
}

// points is the state of each disk, by device key, at a snapshot.
type points map[int32]*blockdisk.Point

func (vm *vmState) label() string {
	vm.mu.RLock()
	defer vm.mu.RUnlock()
	return vm.name
}

func (vm *vmState) close() {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	for _, d := range vm.disks {
		d.Close()
	}
}

// disk finds a disk by device key; the lock is held.
func (vm *vmState) disk(key int32) *vmDisk {
	for _, d := range vm.disks {
		if d.key == key {
			return d
		}
	}
	return nil
}

// freeze cuts all disks at once. Tracking that waited for a stun begins here, after the cut: this snapshot carries
// no change id yet.
func (vm *vmState) freeze() (points, error) {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	cut := points{}
	for _, d := range vm.disks {
		point, err := d.Freeze()
		if err != nil {
			_ = vm.release(cut)
			return nil, err
		}
		cut[d.key] = point
	}
	vm.stun()
	vm.settle()
	return cut, nil
}

// stun makes pending tracking effective; the lock is held.
func (vm *vmState) stun() {
	if !vm.pending {
		return
	}
	vm.pending = false
	for _, d := range vm.disks {
		d.Track(true)
	}
}

// keep files the cut under the snapshot that vcsim made for it.
func (vm *vmState) keep(snapshot types.ManagedObjectReference, cut points, vmsn string) {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	vm.points[snapshot], vm.vmsn[snapshot] = cut, vmsn
}

// release merges what a snapshot kept apart; the lock is held.
func (vm *vmState) release(cut points) error {
	var first error
	for _, d := range vm.disks {
		if point := cut[d.key]; point != nil {
			if err := d.Release(point); err != nil && first == nil {
				first = err
			}
		}
	}
	return first
}

// discard undoes a cut that no snapshot came of.
func (vm *vmState) discard(cut points) {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	_ = vm.release(cut)
	vm.settle()
}

// remove forgets snapshots and consolidates the disks, or leaves that for later. It stuns the machine too.
func (vm *vmState) remove(snapshots []types.ManagedObjectReference, consolidate bool) error {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	var first error
	for _, ref := range snapshots {
		cut := vm.points[ref]
		delete(vm.points, ref)
		if file := vm.vmsn[ref]; file != "" {
			_ = os.Remove(file)
			delete(vm.vmsn, ref)
		}
		if !consolidate {
			vm.leftovers = append(vm.leftovers, cut)
		} else if err := vm.release(cut); err != nil && first == nil {
			first = err
		}
	}
	vm.stun()
	vm.settle()
	return first
}

// consolidate merges what earlier removals have left.
func (vm *vmState) consolidate() error {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	var first error
	for _, cut := range vm.leftovers {
		if err := vm.release(cut); err != nil && first == nil {
			first = err
		}
	}
	vm.leftovers = nil
	vm.stun()
	vm.settle()
	return first
}

// revert takes all disks back to a snapshot. A disk that the snapshot does not know stays as it is.
func (vm *vmState) revert(snapshot types.ManagedObjectReference) error {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	defer vm.settle()
	for _, d := range vm.disks {
		if point := vm.points[snapshot][d.key]; point != nil {
			if err := d.Revert(point); err != nil {
				return err
			}
		}
	}
	return nil
}

// track switches change tracking; the caller has checked that there are no snapshots when it is switched on.
func (vm *vmState) track(on bool) {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	if vm.cbt == on {
		return
	}
	vm.cbt, vm.pending = on, on
	if !on {
		for _, d := range vm.disks {
			d.Track(false)
		}
	} else if !vm.poweredOn {
		vm.stun()
	}
}

// setPower follows the power state. A power cycle makes pending tracking effective, as a stun does.
func (vm *vmState) setPower(on bool) {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	vm.poweredOn = on
	vm.stun()
}

func (vm *vmState) setName(name string) {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	vm.name = name
}

func (vm *vmState) hasSnapshots() bool {
	vm.mu.RLock()
	defer vm.mu.RUnlock()
	return len(vm.points) > 0
}

func (vm *vmState) newEpoch() {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	for _, d := range vm.disks {
		d.NewEpoch()
	}
}
