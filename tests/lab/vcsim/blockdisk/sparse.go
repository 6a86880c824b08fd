package blockdisk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// The whence values of lseek(2) for holes, which package syscall does not name.
const (
	seekData = 3
	seekHole = 4
)

// dataRanges calls f for every range of a file that has storage behind it. Seeking is harmless to others: all
// reading and writing here names its offset.
func dataRanges(file *os.File, size int64, f func(offset, length int64) error) error {
	for offset := int64(0); offset < size; {
		start, err := file.Seek(offset, seekData)
		if errors.Is(err, syscall.ENXIO) {
			return nil // only a hole is left
		}
		if err != nil {
			return err
		}
		end, err := file.Seek(start, seekHole)
		if err != nil {
			return err
		}
		end = min(end, size)
		if start < end {
			if err := f(start, end-start); err != nil {
				return err
			}
		}
		offset = end
	}
	return nil
}

// punch makes a range read as zeros and gives its storage back where the file system can.
func punch(file *os.File, offset, length int64) error {
	const keepSize, punchHole = 0x1, 0x2
	err := syscall.Fallocate(int(file.Fd()), keepSize|punchHole, offset, length)
	if !errors.Is(err, syscall.EOPNOTSUPP) {
		return err
	}
	zeros := make([]byte, min(length, 1<<20))
	for length > 0 {
		n, err := file.WriteAt(zeros[:min(length, int64(len(zeros)))], offset)
		if err != nil {
			return err
		}
		offset, length = offset+int64(n), length-int64(n)
	}
	return nil
}

// copyImage copies a raw image into the beginning of file and leaves holes and zeros out.
func copyImage(file *os.File, capacity int64, image string) error {
	src, err := os.Open(image)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	if info.Size() > capacity {
		return fmt.Errorf("image %s has %d bytes, the disk only %d", image, info.Size(), capacity)
	}
	buf := make([]byte, BlockSize)
	return dataRanges(src, info.Size(), func(offset, length int64) error {
		for end := offset + length; offset < end; {
			n, err := src.ReadAt(buf[:min(int64(len(buf)), end-offset)], offset)
			if err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			if n == 0 {
				return fmt.Errorf("image %s became shorter while it was copied", image)
			}
			if !isZero(buf[:n]) {
				if _, err := file.WriteAt(buf[:n], offset); err != nil {
					return err
				}
			}
			offset += int64(n)
		}
		return nil
	})
}

var zeroBlock = make([]byte, BlockSize)

func isZero(p []byte) bool { return bytes.Equal(p, zeroBlock[:len(p)]) }
