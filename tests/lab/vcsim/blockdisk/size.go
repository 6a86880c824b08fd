package blockdisk

import (
	"os"
	"syscall"
)

// Data is the name of the file with the layer's data.
func (l *Layer) Data() string { return l.data }

// DeltaBytes is what the deltas of the disk take.
func (d *Disk) DeltaBytes() int64 {
	total := int64(0)
	for _, l := range d.layers {
		if l.held != nil {
			total += l.held.Count() * BlockSize
		}
	}
	return total
}

// Growth is how much larger the live delta would get by a write; the base never grows.
func (d *Disk) Growth(offset, length int64) int64 {
	if d.live.held == nil || length <= 0 {
		return 0
	}
	total := int64(0)
	for block := offset / BlockSize; block < Blocks(offset+length); block++ {
		if !d.live.held.Has(block) {
			total += BlockSize
		}
	}
	return total
}

// Allocated is what a layer takes: a thick base all of its capacity.
func (d *Disk) Allocated(l *Layer) int64 {
	if l.held != nil {
		return l.held.Count() * BlockSize
	}
	if !d.thin {
		return d.capacity
	}
	info, err := os.Stat(l.file.Name())
	if err != nil {
		return d.capacity
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Blocks * 512
	}
	return info.Size()
}
