package blockdisk

import (
	"os"
	"path/filepath"
)

// Layer is one file of a disk: the flat base, or the delta that a snapshot put on top. A delta is a sparse file as
// long as the disk, with each block at its own offset; held says which blocks it really has.
type Layer struct {
	Name   string // of the descriptor: disk1.vmdk, disk1-000001.vmdk
	data   string // of the data file
	parent *Layer // nil for the base
	held   *Bitmap
	file   *os.File
}

// Parent is the layer below, nil for the base.
func (l *Layer) Parent() *Layer { return l.parent }

func (l *Layer) has(block int64) bool { return l.held == nil || l.held.Has(block) }

func createLayer(dir, name, data string, capacity int64, parent *Layer) (*Layer, error) {
	file, err := os.OpenFile(filepath.Join(dir, data), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	layer := &Layer{Name: name, data: data, parent: parent, file: file}
	if parent != nil {
		layer.held = NewBitmap(Blocks(capacity))
	}
	if err := file.Truncate(capacity); err != nil {
		_ = file.Close()
		return nil, err
	}
	return layer, nil
}

func (l *Layer) remove(dir string) {
	_ = l.file.Close()
	_ = os.Remove(filepath.Join(dir, l.data))
	_ = os.Remove(filepath.Join(dir, l.Name))
}

// allocated adds the blocks that have storage in this layer.
func (l *Layer) allocated(set *Bitmap, capacity int64) error {
	return dataRanges(l.file, capacity, func(offset, length int64) error {
		set.SetBytes(offset, length)
		return nil
	})
}
