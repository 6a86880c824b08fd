package blockdisk

// WriteAt is a write of the guest. The caller has checked that it lies within the capacity.
func (d *Disk) WriteAt(p []byte, offset int64) error {
	if len(p) == 0 {
		return nil
	}
	return d.change(offset, int64(len(p)), func() error {
		_, err := d.live.file.WriteAt(p, offset)
		return err
	})
}

// Discard is a discard of the guest: the range reads as zeros from now on.
func (d *Disk) Discard(offset, length int64) error {
	if length <= 0 {
		return nil
	}
	return d.change(offset, length, func() error { return punch(d.live.file, offset, length) })
}

// change logs a change before it is made, so that a write that failed halfway is reported as changed too.
func (d *Disk) change(offset, length int64, apply func() error) error {
	if d.log != nil {
		d.log.Mark(offset, length)
	}
	if err := d.copyUp(offset, length); err != nil {
		return err
	}
	if err := apply(); err != nil {
		return err
	}
	if d.live.held != nil {
		d.live.held.SetBytes(offset, length)
	}
	return nil
}

// copyUp brings the blocks that will be written only in part into the live layer: the first and the last.
func (d *Disk) copyUp(offset, length int64) error {
	end := offset + length
	for _, block := range []int64{offset / BlockSize, (end - 1) / BlockSize} {
		start := block * BlockSize
		stop := min(start+BlockSize, d.capacity)
		if d.live.has(block) || (offset <= start && stop <= end) {
			continue
		}
		buf := make([]byte, stop-start)
		if err := d.ReadAt(buf, start); err != nil {
			return err
		}
		if _, err := d.live.file.WriteAt(buf, start); err != nil {
			return err
		}
		d.live.held.SetRange(block, block+1)
	}
	return nil
}
