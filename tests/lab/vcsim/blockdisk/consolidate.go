package blockdisk

import (
	"fmt"
	"slices"
)

// consolidate merges or drops every layer that neither a snapshot nor the running machine needs for itself. A layer
// with two children stays: both branches stand on it.
func (d *Disk) consolidate() error {
	for {
		layer, children := d.spare()
		switch {
		case layer == nil:
			return nil
		case len(children) == 0:
			d.drop(layer)
		default:
			if err := d.merge(layer, children[0]); err != nil {
				return err
			}
		}
	}
}

func (d *Disk) spare() (*Layer, []*Layer) {
	for _, l := range d.layers {
		if l == d.live || slices.ContainsFunc(d.points, func(p *Point) bool { return p.layer == l }) {
			continue
		}
		var children []*Layer
		for _, c := range d.layers {
			if c.parent == l {
				children = append(children, c)
			}
		}
		if len(children) < 2 {
			return l, children
		}
	}
	return nil, nil
}

func (d *Disk) drop(layer *Layer) {
	d.layers = slices.DeleteFunc(d.layers, func(l *Layer) bool { return l == layer })
	layer.remove(d.dir)
}

// merge writes the child's blocks into its parent, which then takes the child's place. If it fails halfway the child
// is still on top, so the disk reads the same as before.
func (d *Disk) merge(parent, child *Layer) error {
	buf := make([]byte, BlockSize)
	for lo, hi, ok := child.held.NextRun(0); ok; lo, hi, ok = child.held.NextRun(hi) {
		for block := lo; block < hi; block++ {
			if err := d.mergeBlock(parent, child, block, buf); err != nil {
				return fmt.Errorf("consolidate %s into %s: %w", child.data, parent.data, err)
			}
		}
	}
	for _, p := range d.points {
		if p.layer == child {
			p.layer = parent
		}
	}
	if d.live == child {
		d.live = parent
	}
	d.drop(child)
	for _, l := range d.layers {
		if l.parent == child {
			l.parent = parent
			if err := d.writeDescriptor(l); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *Disk) mergeBlock(parent, child *Layer, block int64, buf []byte) error {
	start := block * BlockSize
	buf = buf[:min(BlockSize, d.capacity-start)]
	if _, err := child.file.ReadAt(buf, start); err != nil {
		return err
	}
	var err error
	if isZero(buf) {
		err = punch(parent.file, start, int64(len(buf)))
	} else {
		_, err = parent.file.WriteAt(buf, start)
	}
	if err == nil && parent.held != nil {
		parent.held.SetRange(block, block+1)
	}
	return err
}
