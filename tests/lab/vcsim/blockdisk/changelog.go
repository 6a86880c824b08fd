package blockdisk

import (
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"strconv"
)

// What a change id can be wrong about. vSphere answers them with different faults.
var (
	ErrMalformed  = errors.New("the change id is not uuid/number")
	ErrOtherEpoch = errors.New("the change id belongs to another epoch")
	ErrFuture     = errors.New("the change id is younger than the snapshot")
	ErrNotTracked = errors.New("changes of this disk are not tracked")
)

// ChangeLog is one epoch of change tracking of one disk: which blocks were written in each interval between two
// snapshots. Intervals are kept apart (and not only each block's last number), so that an older snapshot still
// gets an exact answer after the same block was written again.
type ChangeLog struct {
	UUID      string
	blocks    int64
	intervals []*Bitmap // the last one is the interval that is still being written
	broken    bool
}

// NewChangeLog starts an epoch for a disk of that many blocks.
func NewChangeLog(blocks int64) *ChangeLog {
	return &ChangeLog{UUID: newEpoch(), blocks: blocks, intervals: []*Bitmap{NewBitmap(blocks)}}
}

// Number is the number of the current interval; the next snapshot will carry it.
func (l *ChangeLog) Number() int64 { return int64(len(l.intervals)) }

// ChangeID prints a change id of this epoch.
func (l *ChangeLog) ChangeID(number int64) string { return fmt.Sprintf("%s/%d", l.UUID, number) }

// Mark records a write.
func (l *ChangeLog) Mark(offset, length int64) {
	l.intervals[len(l.intervals)-1].SetBytes(offset, length)
}

// Cut ends the current interval, as a snapshot does, and returns its number.
func (l *ChangeLog) Cut() int64 {
	l.intervals = append(l.intervals, NewBitmap(l.blocks))
	return l.Number() - 1
}

// Break makes the whole epoch useless, as a host that crashed or a storage vMotion does.
func (l *ChangeLog) Break() { l.broken = true }

// Since is what was written after the change id up to the snapshot with that number.
func (l *ChangeLog) Since(changeID string, number int64) (*Bitmap, error) {
	epoch, since, err := parseChangeID(changeID)
	switch {
	case err != nil:
		return nil, err
	case l.broken || epoch != l.UUID:
		return nil, ErrOtherEpoch
	case since > number:
		return nil, ErrFuture
	}
	set := NewBitmap(l.blocks)
	for i := since; i < number; i++ {
		set.Or(l.intervals[i])
	}
	return set, nil
}

var changeIDPattern = regexp.MustCompile(`^([0-9a-f]{2}(?: [0-9a-f]{2}){7}-[0-9a-f]{2}(?: [0-9a-f]{2}){7})/([1-9][0-9]{0,17})$`)

func parseChangeID(id string) (epoch string, number int64, err error) {
	m := changeIDPattern.FindStringSubmatch(id)
	if m == nil {
		return "", 0, ErrMalformed
	}
	number, err = strconv.ParseInt(m[2], 10, 64)
	return m[1], number, err
}

// newEpoch prints a random uuid the way VMware does: bytes with blanks, one dash in the middle, 52 in front.
func newEpoch() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[0] = 0x52
	return fmt.Sprintf("% x-% x", b[:8], b[8:])
}
