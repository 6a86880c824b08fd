package blockdisk

// MaxAreas is how many areas vSphere puts into one answer at most.
const MaxAreas = 2000

// Area is a piece of a disk in bytes.
type Area struct{ Start, Length int64 }

// Page cuts the set of blocks into areas from byte start on, at most limit of them, and says how far it looked:
// start + length is where the next page begins, or the capacity when nothing is left to report.
func Page(set *Bitmap, start, capacity int64, limit int) (areas []Area, length int64) {
	block := start / BlockSize
	for {
		lo, hi, ok := set.NextRun(block)
		if !ok {
			return areas, capacity - start
		}
		from, to := max(lo*BlockSize, start), min(hi*BlockSize, capacity)
		if len(areas) == limit {
			return areas, from - start
		}
		areas = append(areas, Area{from, to - from})
		block = hi
	}
}
