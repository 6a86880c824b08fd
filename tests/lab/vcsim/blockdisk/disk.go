// Package blockdisk is one virtual disk of the lab: a flat file, the deltas that snapshots put on top of it, and the
// change log. It knows nothing of vSphere and locks nothing: the virtual machine's lock guards all of its disks, so
// that a snapshot is one point in time for all of them.
package blockdisk

import (
	"fmt"
	"io"
	"slices"
)

// Disk is a tree of layers: the base at the root, and the live layer, which takes the guest's writes, at one leaf.
// It is a chain until somebody reverts to a snapshot and goes on from there.
type Disk struct {
	dir, stem string
	capacity  int64
	thin      bool
	live      *Layer
	layers    []*Layer
	points    []*Point
	log       *ChangeLog // nil while changes are not tracked
}

// Point is a disk at a snapshot. Consolidation may move it to another layer with the same content.
type Point struct {
	layer  *Layer
	log    *ChangeLog // nil if the snapshot carries no change id
	number int64
}

// Create makes STEM.vmdk and STEM-flat.vmdk in dir; image, a raw file, may be "".
func Create(dir, stem string, capacity int64, thin bool, image string) (*Disk, error) {
	base, err := createLayer(dir, stem+".vmdk", stem+"-flat.vmdk", capacity, nil)
	if err != nil {
		return nil, err
	}
	d := &Disk{dir: dir, stem: stem, capacity: capacity, thin: thin, live: base, layers: []*Layer{base}}
	if image != "" {
		if err := copyImage(base.file, capacity, image); err != nil {
			_ = base.file.Close()
			return nil, err
		}
	}
	return d, d.writeDescriptor(base)
}

// Capacity in bytes.
func (d *Disk) Capacity() int64 { return d.capacity }

// Live is the layer that takes the guest's writes.
func (d *Disk) Live() *Layer { return d.live }

// Layers are all layers, the base first.
func (d *Disk) Layers() []*Layer { return d.layers }

// Base is the layer with the flat file.
func (d *Disk) Base() *Layer { return d.layers[0] }

// ChangeID is that of the live disk, "" while changes are not tracked.
func (d *Disk) ChangeID() string {
	if d.log == nil {
		return ""
	}
	return d.log.ChangeID(d.log.Number())
}

// Log is the current epoch, nil while changes are not tracked.
func (d *Disk) Log() *ChangeLog { return d.log }

// Track switches tracking on with a new epoch, or off.
func (d *Disk) Track(on bool) {
	d.log = nil
	if on {
		d.log = NewChangeLog(Blocks(d.capacity))
	}
}

// NewEpoch breaks the current epoch, snapshots of it included, and starts another. Nothing happens to an untracked disk.
func (d *Disk) NewEpoch() {
	if d.log != nil {
		d.log.Break()
		d.Track(true)
	}
}

// Freeze takes a snapshot: the live layer is written no more, a new delta takes over.
func (d *Disk) Freeze() (*Point, error) {
	point := &Point{layer: d.live}
	if err := d.grow(d.live); err != nil {
		return nil, err
	}
	if d.log != nil {
		point.log, point.number = d.log, d.log.Cut()
	}
	d.points = append(d.points, point)
	return point, nil
}

// grow puts a new live delta on top of parent.
func (d *Disk) grow(parent *Layer) error {
	name := ""
	for i := 1; name == "" || slices.ContainsFunc(d.layers, func(l *Layer) bool { return l.Name == name+".vmdk" }); i++ {
		name = fmt.Sprintf("%s-%06d", d.stem, i)
	}
	delta, err := createLayer(d.dir, name+".vmdk", name+"-delta.vmdk", d.capacity, parent)
	if err != nil {
		return err
	}
	if err := d.writeDescriptor(delta); err != nil {
		delta.remove(d.dir)
		return err
	}
	d.layers, d.live = append(d.layers, delta), delta
	return nil
}

// Release removes a snapshot and merges what no other snapshot needs apart.
func (d *Disk) Release(point *Point) error {
	d.points = slices.DeleteFunc(d.points, func(p *Point) bool { return p == point })
	return d.consolidate()
}

// Revert goes back to a snapshot: what was written since is gone, and so is the epoch, for the disk is now something
// that no change id of it describes. The snapshot's own change id stays good for the snapshot.
func (d *Disk) Revert(point *Point) error {
	old := d.live
	if err := d.grow(point.layer); err != nil {
		return err
	}
	d.drop(old)
	if d.log != nil {
		d.Track(true)
	}
	return d.consolidate()
}

// Resize makes the disk larger. Only without snapshots; the caller checks that.
func (d *Disk) Resize(capacity int64) error {
	if err := d.live.file.Truncate(capacity); err != nil {
		return err
	}
	d.capacity = capacity
	d.NewEpoch()
	return d.writeDescriptor(d.live)
}

// Sync makes what was written durable.
func (d *Disk) Sync() error { return d.live.file.Sync() }

// Close closes the files and leaves them where they are.
func (d *Disk) Close() {
	for _, l := range d.layers {
		_ = l.file.Close()
	}
}

// Layer is where the disk at the snapshot is read from.
func (p *Point) Layer() *Layer { return p.layer }

// ChangeID of the snapshot, "" if changes were not tracked then.
func (p *Point) ChangeID() string {
	if p.log == nil {
		return ""
	}
	return p.log.ChangeID(p.number)
}

// Changed is what differs between the change id and the snapshot; "*" asks for all that is allocated.
func (d *Disk) Changed(p *Point, changeID string) (*Bitmap, error) {
	switch {
	case p.log == nil:
		return nil, ErrNotTracked
	case changeID != "*":
		return p.log.Since(changeID, p.number)
	}
	set := NewBitmap(Blocks(d.capacity))
	for l := p.layer; l != nil; l = l.parent {
		if err := l.allocated(set, d.capacity); err != nil {
			return nil, err
		}
	}
	return set, nil
}

// ReadAt reads the live disk.
func (d *Disk) ReadAt(p []byte, offset int64) error { return d.readLayer(d.live, p, offset) }

// ReadFrom reads the disk as seen from the layer with this name; ok is false where there is none.
func (d *Disk) ReadFrom(name string, p []byte, offset int64) (ok bool, err error) {
	for _, layer := range d.layers {
		if layer.Name == name {
			return true, d.readLayer(layer, p, offset)
		}
	}
	return false, nil
}

// readLayer reads the disk as seen from a layer: each block from the highest layer that has it.
func (d *Disk) readLayer(from *Layer, p []byte, offset int64) error {
	for len(p) > 0 {
		block := offset / BlockSize
		holder := holderOf(from, block)
		n := (block+1)*BlockSize - offset
		for n < int64(len(p)) && holderOf(from, (offset+n)/BlockSize) == holder {
			n += BlockSize
		}
		n = min(n, int64(len(p)))
		if _, err := io.ReadFull(io.NewSectionReader(holder.file, offset, n), p[:n]); err != nil {
			return fmt.Errorf("read %s at %d: %w", holder.data, offset, err)
		}
		p, offset = p[n:], offset+n
	}
	return nil
}

func holderOf(from *Layer, block int64) *Layer {
	for !from.has(block) {
		from = from.parent
	}
	return from
}
