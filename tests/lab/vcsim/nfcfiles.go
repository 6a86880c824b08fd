package main

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/vim25/types"

	"migratekit.invalid/lab/vcsim/blockdisk"
	"migratekit.invalid/lab/vcsim/nfc"
)

// fileLocks are those that readers hold on the files of the datastores: over NFC and through the datastore browser,
// which keep each other out. The lock of a running machine on the disk that it writes is not one of them: its power
// state says so.
type fileLocks struct {
	mu      sync.Mutex
	nfc     map[string]int // by path on the datastore
	browser map[string]int
}

func newFileLocks() *fileLocks {
	return &fileLocks{nfc: map[string]int{}, browser: map[string]int{}}
}

// browse locks a file for the datastore browser; false: it is open over NFC.
func (f *fileLocks) browse(file string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.nfc[file] > 0 {
		return false
	}
	f.browser[file]++
	return true
}

func (f *fileLocks) browsed(file string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.browser[file]--
}

// open locks the files of a chain for NFC; false: the datastore browser reads one, or the first is taken.
func (f *fileLocks) open(files []string, exclusive bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, file := range files {
		if f.browser[file] > 0 {
			return false
		}
	}
	if exclusive && f.nfc[files[0]] > 0 {
		return false
	}
	for _, file := range files {
		f.nfc[file]++
	}
	return true
}

func (f *fileLocks) close(files []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, file := range files {
		f.nfc[file]--
	}
}

func (f *fileLocks) openOverNFC(file string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.nfc[file] > 0
}

// nfcMachine gives NFC the disks of a machine.
type nfcMachine struct {
	lab *Lab
	vm  *vmState
}

// Name is the machine's, as the API has it.
func (m *nfcMachine) Name() string { return m.vm.label() }

// Open opens a disk as of one of its layers: what a snapshot froze, or, of a machine that is off, what it is now.
func (m *nfcMachine) Open(name string, exclusive bool) (nfc.File, error) {
	m.vm.mu.RLock()
	defer m.vm.mu.RUnlock()
	if m.lab.state(m.vm.ref) != m.vm {
		return nil, &nfc.Refusal{Code: nfc.CodeMissing, Text: "The virtual machine is gone"}
	}
	for _, disk := range m.vm.disks {
		for _, layer := range disk.Layers() {
			if datastorePath(m.vm, layer.Name) != name {
				continue
			}
			if layer == disk.Live() && m.vm.poweredOn {
				return nil, &nfc.Refusal{Code: nfc.CodePermission, Text: "You do not have access rights to this file: " + name}
			}
			file := &nfcFile{machine: m, disk: disk, layer: layer.Name, path: name, size: disk.Capacity(), locked: chainFiles(m.vm, layer)}
			if !m.lab.locks.open(file.locked, exclusive) {
				return nil, &nfc.Refusal{Code: nfc.CodeLocked, Text: "Failed to lock the file: " + name}
			}
			return file, nil
		}
	}
	if dir, _ := path.Split(name); dir == datastorePath(m.vm, "") {
		return nil, &nfc.Refusal{Code: nfc.CodeMissing, Text: "The file was not found: " + name}
	}
	return nil, &nfc.Refusal{Code: nfc.CodePermission, Text: "You do not have access rights to this file: " + name}
}

// chainFiles are the files of a layer and all below it.
func chainFiles(vm *vmState, layer *blockdisk.Layer) []string {
	var files []string
	for l := layer; l != nil; l = l.Parent() {
		files = append(files, datastorePath(vm, l.Name), datastorePath(vm, l.Data()))
	}
	return files
}

// nfcFile is a disk that is open over NFC.
type nfcFile struct {
	machine *nfcMachine
	disk    *vmDisk
	layer   string
	path    string
	size    int64
	locked  []string
}

// Name is the path that was opened.
func (f *nfcFile) Name() string { return f.path }

// Size is the disk's.
func (f *nfcFile) Size() int64 { return f.size }

// ReadAt reads through the chain.
func (f *nfcFile) ReadAt(p []byte, offset int64) error {
	f.machine.vm.mu.RLock()
	defer f.machine.vm.mu.RUnlock()
	found, err := f.disk.ReadFrom(f.layer, p, offset)
	if err == nil && !found {
		return errors.New("the file is gone")
	}
	return err
}

// Close gives the locks back.
func (f *nfcFile) Close() { f.machine.lab.locks.close(f.locked) }

// filesOf says which paths are of one disk, by its device key; nil: there is no such disk.
func (vm *vmState) filesOf(key int32) func(string) bool {
	vm.mu.RLock()
	defer vm.mu.RUnlock()
	if vm.disk(key) == nil {
		return nil
	}
	return func(name string) bool {
		vm.mu.RLock()
		defer vm.mu.RUnlock()
		disk := vm.disk(key)
		if disk == nil {
			return false
		}
		for _, layer := range disk.Layers() {
			if datastorePath(vm, layer.Name) == name {
				return true
			}
		}
		return false
	}
}

// locked is a file that a reader has open and that merging these cuts would change, "" for none. It waits a while: the
// host learns of a reader's end a little later than the one who ended it.
func (l *Lab) locked(vm *vmState, cuts func() []points) string {
	end := time.Now().Add(time.Duration(l.nfc.Switches().SecondsForLockWait * float64(time.Second)))
	for {
		file := vm.openAmong(cuts())
		if file == "" || time.Now().After(end) {
			return file
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (vm *vmState) openAmong(cuts []points) string {
	vm.mu.RLock()
	defer vm.mu.RUnlock()
	for _, cut := range cuts {
		for _, point := range cut {
			if file := datastorePath(vm, point.Layer().Name); vm.locks.openOverNFC(file) {
				return file
			}
		}
	}
	return ""
}

// liveOpen is a disk that the machine would write and that a reader has open, "" for none; the lock is held.
func (vm *vmState) liveOpen() string {
	for _, d := range vm.disks {
		if file := datastorePath(vm, d.Live().Name); vm.locks.openOverNFC(file) {
			return file
		}
	}
	return ""
}

func (vm *vmState) cutsOf(snapshots []types.ManagedObjectReference) []points {
	vm.mu.RLock()
	defer vm.mu.RUnlock()
	var cuts []points
	for _, ref := range snapshots {
		cuts = append(cuts, vm.points[ref])
	}
	return cuts
}

func (vm *vmState) leftOver() []points {
	vm.mu.RLock()
	defer vm.mu.RUnlock()
	return vm.leftovers
}

func fileLocked(file string) types.BaseMethodFault {
	fault := new(types.FileLocked)
	fault.File = file
	fault.FaultMessage = []types.LocalizableMessage{{Key: "lab", Message: fmt.Sprintf("Unable to access file %s since it is locked", file)}}
	return fault
}

// datastoreFile is the path on the datastore of a path in its browser.
func datastoreFile(store, name string) string {
	return "[" + store + "] " + strings.TrimPrefix(name, "/")
}
