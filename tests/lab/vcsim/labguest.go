package main

import (
	"log"
	"net/http"
	"strconv"
)

var errStopped = httpError{http.StatusConflict, "the virtual machine has stopped and waits for an answer"}

var errOff = httpError{http.StatusConflict, "the virtual machine is not powered on: nobody is there to write"}

// guestDisk finds the disk that a request names, by its place in the machine.
func (s *server) guestDisk(r *http.Request) (*vmState, *vmDisk, error) {
	vm, err := s.lab.find(r.PathValue("name"))
	if err != nil {
		return nil, nil, err
	}
	n, err := strconv.Atoi(r.PathValue("n"))
	vm.mu.RLock()
	defer vm.mu.RUnlock()
	if err != nil || n < 0 || n >= len(vm.disks) {
		return nil, nil, fail(http.StatusNotFound, "%s has no disk %s", r.PathValue("name"), r.PathValue("n"))
	}
	return vm, vm.disks[n], nil
}

// change lets the guest change its disk, if there is a guest and the range is within the disk.
func (l *Lab) change(vm *vmState, disk *vmDisk, offset, length int64, apply func() error) (any, error) {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	if !vm.poweredOn {
		return nil, errOff
	}
	if vm.question != nil {
		return nil, errStopped
	}
	if err := within(disk, offset, length); err != nil {
		return nil, err
	}
	if !vm.grow(disk, offset, length) {
		vm.question = new(question) // nothing is written from now on, even before the question is there to be seen
		go l.outOfSpace(vm, disk.Live().Name)
		return nil, errStopped
	}
	if err := apply(); err != nil {
		return nil, err
	}
	return map[string]any{"offset": offset, "length": length, "change_id": orNull(disk.ChangeID())}, nil
}

func within(disk *vmDisk, offset, length int64) error {
	if length > disk.Capacity() || offset > disk.Capacity()-length {
		return fail(http.StatusRequestedRangeNotSatisfiable, "%d bytes at %d: the disk has %d", length, offset, disk.Capacity())
	}
	return nil
}

func (s *server) labWrite(w http.ResponseWriter, r *http.Request) (any, error) {
	vm, disk, err := s.guestDisk(r)
	if err != nil {
		return nil, err
	}
	offset, err := number(r, "offset", nil)
	if err != nil {
		return nil, err
	}
	body, err := readBody(w, r)
	if err != nil {
		return nil, err
	}
	return s.lab.change(vm, disk, offset, int64(len(body)), func() error { return disk.WriteAt(body, offset) })
}

func (s *server) labDiscard(_ http.ResponseWriter, r *http.Request) (any, error) {
	vm, disk, err := s.guestDisk(r)
	if err != nil {
		return nil, err
	}
	offset, err := number(r, "offset", nil)
	if err != nil {
		return nil, err
	}
	length, err := number(r, "length", nil)
	if err != nil {
		return nil, err
	}
	return s.lab.change(vm, disk, offset, length, func() error { return disk.Discard(offset, length) })
}

// labRead streams in pieces. A piece is one point in time, the whole is not: stop writing to get a picture.
func (s *server) labRead(w http.ResponseWriter, r *http.Request) (any, error) {
	vm, disk, err := s.guestDisk(r)
	if err != nil {
		return nil, err
	}
	vm.mu.RLock()
	capacity := disk.Capacity()
	vm.mu.RUnlock()
	offset, err := number(r, "offset", new(int64))
	if err != nil {
		return nil, err
	}
	rest := capacity - offset
	length, err := number(r, "length", &rest)
	if err != nil {
		return nil, err
	}
	if err := within(disk, offset, length); err != nil {
		return nil, err
	}
	read := disk.ReadAt
	if name := r.URL.Query().Get("layer"); name != "" {
		read = func(p []byte, offset int64) error {
			ok, err := disk.ReadFrom(name, p, offset)
			if !ok && err == nil {
				err = fail(http.StatusNotFound, "the disk has no layer %s", name)
			}
			return err
		}
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(length, 10))
	buf := make([]byte, 4<<20)
	for length > 0 {
		piece := buf[:min(length, int64(len(buf)))]
		vm.mu.RLock()
		err := read(piece, offset)
		vm.mu.RUnlock()
		if err == nil {
			_, err = w.Write(piece)
		}
		if err != nil {
			log.Printf("read %s: %v", r.URL, err)
			panic(http.ErrAbortHandler) // the length is promised: only breaking off says that this is not all
		}
		offset, length = offset+int64(len(piece)), length-int64(len(piece))
	}
	return nil, nil
}

func (s *server) labFlush(_ http.ResponseWriter, r *http.Request) (any, error) {
	vm, disk, err := s.guestDisk(r)
	if err != nil {
		return nil, err
	}
	vm.mu.RLock()
	defer vm.mu.RUnlock()
	return map[string]any{}, disk.Sync()
}
