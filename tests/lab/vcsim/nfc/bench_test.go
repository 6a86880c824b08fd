package nfc_test

import (
	"testing"

	"migratekit.invalid/lab/vcsim/nfctest"
)

// BenchmarkReads keeps 16 reads of 1 MiB in flight on one connection, plain; host and client are one process.
func BenchmarkReads(b *testing.B) {
	t := new(testing.T)
	l := start(t)
	c, handle := l.open()
	b.SetBytes(mib)
	ask := func(i int) {
		if _, err := c.Put(7, nfctest.ReadPayload(handle, uint64(i%4)*mib, mib, 0), nil); err != nil {
			b.Fatal(err)
		}
	}
	for i := range min(16, b.N) {
		ask(i)
	}
	for i, asked := 0, min(16, b.N); i < b.N*16; i++ {
		if _, err := c.Get(); err != nil {
			b.Fatal(err)
		}
		if i%16 == 15 && asked < b.N {
			ask(asked)
			asked++
		}
	}
}
