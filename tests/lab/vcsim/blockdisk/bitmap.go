package blockdisk

import "math/bits"

// BlockSize is the granularity of change tracking and of copy-up, 64 KiB as in vSphere.
const BlockSize = 64 << 10

// Bitmap is a set of block numbers.
type Bitmap struct {
	words []uint64
	size  int64
}

// NewBitmap returns an empty set over the blocks 0 … size-1.
func NewBitmap(size int64) *Bitmap {
	return &Bitmap{words: make([]uint64, (size+63)/64), size: size}
}

// Blocks is the number of blocks of a disk of that capacity; the last one may be short.
func Blocks(capacity int64) int64 { return (capacity + BlockSize - 1) / BlockSize }

// Has says whether block i is in the set.
func (b *Bitmap) Has(i int64) bool {
	return i >= 0 && i < b.size && b.words[i/64]&(1<<(i%64)) != 0
}

// SetRange adds the blocks lo … hi-1.
func (b *Bitmap) SetRange(lo, hi int64) {
	for i := max(lo, 0); i < min(hi, b.size); i++ {
		b.words[i/64] |= 1 << (i % 64)
	}
}

// SetBytes adds every block that the bytes offset … offset+length-1 touch.
func (b *Bitmap) SetBytes(offset, length int64) {
	if length > 0 {
		b.SetRange(offset/BlockSize, Blocks(offset+length))
	}
}

// Or adds the blocks of other.
func (b *Bitmap) Or(other *Bitmap) {
	for i := range min(len(b.words), len(other.words)) {
		b.words[i] |= other.words[i]
	}
}

// Count is the number of blocks in the set.
func (b *Bitmap) Count() int64 {
	n := 0
	for _, w := range b.words {
		n += bits.OnesCount64(w)
	}
	return int64(n)
}

// NextRun finds the first run lo … hi-1 of blocks at or after from.
func (b *Bitmap) NextRun(from int64) (lo, hi int64, ok bool) {
	for lo = max(from, 0); lo < b.size && !b.Has(lo); {
		if b.words[lo/64]>>(lo%64) == 0 {
			lo = (lo/64 + 1) * 64 // the rest of the word is empty: no need to look at each bit
			continue
		}
		lo++
	}
	if lo >= b.size {
		return 0, 0, false
	}
	for hi = lo; b.Has(hi); {
		hi++
	}
	return lo, hi, true
}
