package blockdisk

import (
	"bytes"
	"errors"
	"math/rand"
	"os"
	"path/filepath"
	"testing"
)

const testSize = 20*BlockSize + 1536 // the last block is short

func newTestDisk(t *testing.T) *Disk {
	t.Helper()
	d, err := Create(t.TempDir(), "disk1", testSize, true, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	d.Track(true)
	return d
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func view(t *testing.T, d *Disk, l *Layer) []byte {
	t.Helper()
	buf := make([]byte, d.Capacity())
	must(t, d.readLayer(l, buf, 0))
	return buf
}

// TestAnyHistory plays random writes, discards, snapshots, removals and reverts against plain copies of the disk.
func TestAnyHistory(t *testing.T) {
	for seed := range int64(12) {
		r := rand.New(rand.NewSource(seed))
		d, shadow := newTestDisk(t), make([]byte, testSize)
		pictures := map[*Point][]byte{}
		pick := func() *Point { return d.points[r.Intn(len(d.points))] }
		for range 150 {
			switch op := r.Intn(10); {
			case op < 5:
				length := 1 + r.Intn(3*BlockSize)
				offset := r.Intn(testSize - length + 1)
				if op == 0 {
					must(t, d.Discard(int64(offset), int64(length)))
					clear(shadow[offset : offset+length])
				} else {
					r.Read(shadow[offset : offset+length])
					must(t, d.WriteAt(shadow[offset:offset+length], int64(offset)))
				}
			case op < 7 && len(d.points) < 5:
				p, err := d.Freeze()
				must(t, err)
				pictures[p] = bytes.Clone(shadow)
			case op == 7 && len(d.points) > 0:
				p := pick()
				must(t, d.Revert(p))
				shadow = bytes.Clone(pictures[p])
			case len(d.points) > 0:
				must(t, d.Release(pick()))
			}
			if !bytes.Equal(view(t, d, d.Live()), shadow) {
				t.Fatalf("seed %d: the live disk is wrong", seed)
			}
			for _, p := range d.points {
				if !bytes.Equal(view(t, d, p.Layer()), pictures[p]) {
					t.Fatalf("seed %d: a snapshot changed", seed)
				}
			}
		}
		for len(d.points) > 0 {
			must(t, d.Release(d.points[0]))
		}
		flat, err := os.ReadFile(filepath.Join(d.dir, "disk1-flat.vmdk"))
		must(t, err)
		files, err := os.ReadDir(d.dir)
		must(t, err)
		if !bytes.Equal(flat, shadow) || len(files) != 2 || d.Live() != d.Base() {
			t.Fatalf("seed %d: not consolidated: %v", seed, files)
		}
	}
}

// TestChangesAreExact compares each answer with the blocks that were written between the two snapshots.
func TestChangesAreExact(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	d := newTestDisk(t)
	var points []*Point
	var written []*Bitmap
	for range 8 {
		interval := NewBitmap(Blocks(testSize))
		for range 3 {
			offset := r.Int63n(testSize - 100)
			must(t, d.WriteAt(make([]byte, 100), offset))
			interval.SetBytes(offset, 100)
		}
		p, err := d.Freeze()
		must(t, err)
		points, written = append(points, p), append(written, interval)
	}
	for from := range points {
		expected := NewBitmap(Blocks(testSize))
		for to := from; to < len(points); to++ {
			if to > from {
				expected.Or(written[to])
			}
			got, err := d.Changed(points[to], points[from].ChangeID())
			must(t, err)
			if got.Count() != expected.Count() || !sameSet(got, expected) {
				t.Fatalf("changes from %d to %d are wrong", from, to)
			}
		}
	}
	if _, err := d.Changed(points[0], points[1].ChangeID()); !errors.Is(err, ErrFuture) {
		t.Errorf("a younger change id: %v", err)
	}
}

func sameSet(a, b *Bitmap) bool {
	for i := range a.size {
		if a.Has(i) != b.Has(i) {
			return false
		}
	}
	return true
}

func TestEpochs(t *testing.T) {
	d := newTestDisk(t)
	p, err := d.Freeze()
	must(t, err)
	for id, want := range map[string]error{"": ErrMalformed, "x/1": ErrMalformed, d.Log().UUID + "/0": ErrMalformed, newEpoch() + "/1": ErrOtherEpoch} {
		if _, err := d.Changed(p, id); !errors.Is(err, want) {
			t.Errorf("%q: %v, not %v", id, err, want)
		}
	}
	id := p.ChangeID()
	d.NewEpoch()
	if _, err := d.Changed(p, id); !errors.Is(err, ErrOtherEpoch) {
		t.Errorf("after a new epoch: %v", err)
	}
	d.Track(false)
	p, err = d.Freeze()
	must(t, err)
	if _, err := d.Changed(p, "*"); !errors.Is(err, ErrNotTracked) || p.ChangeID() != "" {
		t.Errorf("untracked: %v, %q", err, p.ChangeID())
	}
}

func TestImageIsCopiedSparsely(t *testing.T) {
	image := filepath.Join(t.TempDir(), "image")
	content := make([]byte, 5*BlockSize+17)
	copy(content[3*BlockSize:], "data")
	content[len(content)-1] = 'x'
	must(t, os.WriteFile(image, content, 0o600))
	d, err := Create(t.TempDir(), "disk1", testSize, true, image)
	must(t, err)
	t.Cleanup(d.Close)
	d.Track(true)
	p, err := d.Freeze()
	must(t, err)
	set, err := d.Changed(p, "*")
	must(t, err)
	if !set.Has(3) || !set.Has(5) || set.Count() != 2 {
		t.Errorf("%d blocks allocated", set.Count())
	}
	if got := view(t, d, p.Layer()); !bytes.Equal(got[:len(content)], content) {
		t.Error("content differs")
	}
	if _, err := Create(t.TempDir(), "disk1", BlockSize, true, image); err == nil {
		t.Error("an image larger than the disk was taken")
	}
}

func TestPage(t *testing.T) {
	set := NewBitmap(21)
	for _, block := range []int64{1, 2, 5, 20} {
		set.SetRange(block, block+1)
	}
	for _, c := range []struct {
		start  int64
		limit  int
		areas  []Area
		length int64
	}{
		{0, 9, []Area{{BlockSize, 2 * BlockSize}, {5 * BlockSize, BlockSize}, {20 * BlockSize, 1536}}, testSize},
		{0, 1, []Area{{BlockSize, 2 * BlockSize}}, 5 * BlockSize},
		{2*BlockSize + 1, 1, []Area{{2*BlockSize + 1, BlockSize - 1}}, 3*BlockSize - 1},
		{6 * BlockSize, 1, []Area{{20 * BlockSize, 1536}}, testSize - 6*BlockSize},
		{testSize - 1, 1, []Area{{testSize - 1, 1}}, 1},
	} {
		areas, length := Page(set, c.start, testSize, c.limit)
		if length != c.length || len(areas) != len(c.areas) {
			t.Fatalf("from %d: %v, %d", c.start, areas, length)
		}
		for i := range areas {
			if areas[i] != c.areas[i] {
				t.Errorf("from %d: %v", c.start, areas)
			}
		}
	}
	if areas, length := Page(NewBitmap(21), 0, testSize, 9); areas != nil || length != testSize {
		t.Errorf("an empty set: %v, %d", areas, length)
	}
}
