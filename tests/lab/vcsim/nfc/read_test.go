package nfc_test

import (
	"testing"

	"migratekit.invalid/lab/vcsim/nfc"
	"migratekit.invalid/lab/vcsim/nfctest"
)

func offsets(n int) []uint64 {
	all := make([]uint64, n)
	for i := range all {
		all[i] = uint64(i%4) * mib
	}
	return all
}

func TestReadsInEveryEncoding(t *testing.T) {
	l := start(t)
	c, handle := l.open()
	want := l.machine.disks[disk]
	for encoding, chunks := range map[uint32]uint32{0: 0, 1: 1, 3: 3} {
		for _, at := range [][2]uint64{{0, mib}, {512, 512}, {mib - 7, 100_001}, {4 * mib, 512}, {uint64(len(want)) - 1, 1}} {
			data, err := c.Read(handle, at[0], at[1], encoding)
			must(t, err)
			same(t, data, want[at[0]:at[0]+at[1]])
		}
		_, err := c.Read(handle, 0, mib, encoding)
		must(t, err)
		for _, chunk := range c.Chunks {
			if chunk.Encoding != chunks || (encoding != 0) != (chunk.Wire < chunk.Length) {
				t.Fatalf("%+v", chunk)
			}
		}
		if len(c.Chunks) != 16 {
			t.Fatal(len(c.Chunks))
		}
	}
	l.none()
}

func TestAChunkThatWouldNotShrinkComesAsItIs(t *testing.T) {
	l := start(t)
	full := content(2 * mib)
	for at := 0; at < len(full); at += 64 << 10 { // nothing but noise
		copy(full[at+32<<10:at+64<<10], full[at:])
		full[at+64<<10-1]++
		for i := at; i < at+64<<10; i += 512 {
			full[i] |= 1
		}
	}
	l.machine.disks[disk] = full
	c, handle := l.open()
	for _, stored := range []bool{false, true} {
		l.change(func(s *nfc.Switches) { s.SkipzStored = stored })
		data, err := c.Read(handle, 0, mib, 3)
		must(t, err)
		same(t, data, full[:mib])
		for _, chunk := range c.Chunks {
			if want := map[bool]uint32{false: 0, true: 3}[stored]; chunk.Encoding != want || chunk.Wire != chunk.Length {
				t.Fatalf("%+v", chunk)
			}
		}
	}
}

// A chunk that begins with its own length would be taken for segments if it were stored.
func TestAStoredChunkIsNotTakenForSegments(t *testing.T) {
	l := start(t, func(s *nfc.Switches) { s.SkipzStored = true })
	full := content(64 << 10)
	copy(full[32<<10:], full)
	for i := 0; i < len(full); i += 512 {
		full[i] |= 1
	}
	le.PutUint32(full, 64<<10)
	l.machine.disks[disk] = full
	c, handle := l.open()
	data, err := c.Read(handle, 0, 64<<10, 3)
	must(t, err)
	same(t, data, full)
	if c.Chunks[0].Encoding != 0 {
		t.Fatalf("%+v", c.Chunks[0])
	}
}

func TestSkipzOfAnEmptyDisk(t *testing.T) {
	l := start(t)
	l.machine.disks[disk] = make([]byte, 4*mib)
	c, handle := l.open()
	_, err := c.Read(handle, 0, mib, 3)
	must(t, err)
	for _, chunk := range c.Chunks {
		if chunk.Wire != 8 {
			t.Fatalf("%+v", chunk)
		}
	}
	l.eventually(func() bool { return l.service.Report().Disks[0].WireBytes == 16*8 })
	for _, order := range []string{"forward", "reverse"} {
		l = start(t, func(s *nfc.Switches) { s.SkipzOrder, s.SkipzGrain = order, 4096 })
		c, handle = l.open()
		data, err := c.Read(handle, 0, mib, 3)
		must(t, err)
		same(t, data, l.machine.disks[disk][:mib])
	}
}

func TestOtherEncodings(t *testing.T) {
	l := start(t)
	c, handle := l.open()
	_, err := c.Read(handle, 0, 512, 2) // FastLZ
	mustRefuse(t, err, nfc.CodeInvalid)
	l.change(func(s *nfc.Switches) { s.Encodings = []int{} })
	for _, encoding := range []uint32{1, 3} {
		_, err := c.Read(handle, 0, 512, encoding)
		mustRefuse(t, err, nfc.CodeInvalid)
	}
	l.none()
	l.change(func(s *nfc.Switches) { s.OtherEncodings = "plain" })
	for _, encoding := range []uint32{1, 2, 3} {
		data, err := c.Read(handle, 0, 512, encoding)
		must(t, err)
		same(t, data, l.machine.disks[disk][:512])
		if c.Chunks[0].Encoding != 0 {
			t.Fatalf("%+v", c.Chunks[0])
		}
	}
}

func TestReadsThatAreRefused(t *testing.T) {
	size := uint64(4*mib + 512)
	for what, c := range map[string]struct {
		offset, length uint64
		encoding       uint32
		change         func(p []byte)
		code           uint64
		violation      string
	}{
		"more than 1 MiB":     {0, mib + 512, 0, nil, nfc.CodeMemory, "1 to 1048576"},
		"nothing":             {0, 0, 0, nil, nfc.CodeMemory, "read of 0 bytes"},
		"beyond the end":      {size - 511, 512, 0, nil, nfc.CodeInvalid, "beyond the end"},
		"far beyond":          {^uint64(0) - 255, 512, 0, nil, nfc.CodeInvalid, "beyond the end"},
		"compression 4":       {0, 512, 4, nil, nfc.CodeInvalid, "compression 4"},
		"without 1":           {0, 512, 0, func(p []byte) { p[8] = 0 }, nfc.CodeInvalid, "1 and 0"},
		"with more":           {0, 512, 0, func(p []byte) { p[43] = 1 }, nfc.CodeInvalid, "1 and 0"},
		"another length":      {0, 512, 0, func(p []byte) { p[33] = 4 }, nfc.CodeInvalid, "three lengths"},
		"another length, too": {0, 512, 0, func(p []byte) { p[37] = 4 }, nfc.CodeInvalid, "three lengths"},
		"another handle":      {0, 512, 0, func(p []byte) { p[0]++ }, nfc.CodeInvalid, "not open"},
	} {
		t.Run(what, func(t *testing.T) {
			l := start(t)
			client, handle := l.open()
			p := nfctest.ReadPayload(handle, c.offset, c.length, c.encoding)
			if c.change != nil {
				c.change(p)
			}
			_, err := client.Do(7, p, nil)
			mustRefuse(t, err, c.code)
			l.oneViolation(c.violation)
			_, err = client.Read(handle, 0, 512, 0) // and it goes on
			must(t, err)
		})
	}
}

func TestWholeSectors(t *testing.T) {
	l := start(t, func(s *nfc.Switches) { s.WholeSectors = true })
	c, handle := l.open()
	for _, at := range [][2]uint64{{1, 512}, {0, 511}} {
		_, err := c.Read(handle, at[0], at[1], 0)
		mustRefuse(t, err, nfc.CodeInvalid)
	}
}

func TestAReadThatFails(t *testing.T) {
	l := start(t)
	c, handle := l.open()
	l.machine.fails = true
	_, err := c.Read(handle, 0, 64<<10, 0)
	mustRefuse(t, err, nfc.CodeRead)
	must(t, c.CloseFile(handle))
	if r := l.service.Report(); r.Hosts[0].InFlight != 0 || r.Disks[0].InFlight != 0 {
		t.Fatalf("%+v", r)
	}
}

func TestOrderOfChunks(t *testing.T) {
	l := start(t)
	c, handle := l.open()
	at := func() (all []uint32) {
		for _, chunk := range c.Chunks {
			all = append(all, chunk.At)
		}
		return all
	}
	for _, order := range []string{"forward", "reverse"} {
		// The workers of the host send side by side: one chunk alone is exact.
		l.change(func(s *nfc.Switches) { s.ChunkOrder, s.ChunkBytes = order, 4096 })
		data, err := c.Read(handle, 0, mib, 0)
		must(t, err)
		same(t, data, l.machine.disks[disk][:mib])
		if first, last := at()[0], at()[255]; (first < last) != (order == "forward") {
			t.Fatal(order, first, last)
		}
		if len(c.Chunks) != 256 {
			t.Fatal(len(c.Chunks))
		}
	}
	l.change(func(s *nfc.Switches) { s.ChunkOrder = "shuffled" })
	_, err := c.Read(handle, 0, mib, 0)
	must(t, err)
	down := 0
	for i := 1; i < 256; i++ {
		if at()[i] < at()[i-1] {
			down++
		}
	}
	if down < 64 {
		t.Fatal("hardly shuffled: ", down)
	}
	// Chunks of several requests are mixed.
	all, err := c.ReadMany(handle, mib, 0, offsets(4)...)
	must(t, err)
	for i, data := range all {
		same(t, data, l.machine.disks[disk][i*mib:(i+1)*mib])
	}
	changes := 0
	for i := 1; i < len(c.Chunks); i++ {
		if c.Chunks[i].Sequence != c.Chunks[i-1].Sequence {
			changes++
		}
	}
	if changes < 64 {
		t.Fatal("hardly mixed: ", changes)
	}
}

func TestManyRequestsAtOnce(t *testing.T) {
	l := start(t, func(s *nfc.Switches) { s.LatencyMS = 1 })
	c, handle := l.open()
	all, err := c.ReadMany(handle, mib, 3, offsets(32)...)
	must(t, err)
	for i, data := range all {
		same(t, data, l.machine.disks[disk][i%4*mib:][:mib])
	}
	l.none()
}

// A client that asks for more only when it has all of an answer is never seen with more in flight.
func TestRequestsInFlightAreNotCountedTwice(t *testing.T) {
	l := start(t)
	c, handle := l.open()
	l.ask(c, handle, 4)
	got := map[uint32]int{}
	for asked, done := 4, 0; done < 200; {
		r, err := c.Get()
		must(t, err)
		if got[r.Sequence]++; got[r.Sequence] == 16 {
			if done++; asked < 200 {
				l.ask(c, handle, 1)
				asked++
			}
		}
	}
	if r := l.service.Report(); r.Hosts[0].MaxInFlight != 4 || r.Disks[0].MaxInFlight != 4 {
		t.Fatalf("%+v", r)
	}
}

// ask sends so many reads that a rule has the host hold back.
func (l *lab) ask(c *nfctest.Client, handle uint64, reads int) {
	l.t.Helper()
	for range reads {
		_, err := c.Put(7, nfctest.ReadPayload(handle, 0, mib, 0), nil)
		must(l.t, err)
	}
}

func TestRequestsInFlightAreCounted(t *testing.T) {
	l := start(t)
	must(t, l.service.AddRule(nfc.Rule{At: "read", Mode: "silent"}))
	c, handle := l.open()
	other, second := l.open()
	l.ask(c, handle, 20)
	l.ask(other, second, 12)
	l.eventually(func() bool { return l.service.Report().Hosts[0].InFlight == 32 })
	must(t, c.CloseFile(handle))
	other.Close()
	l.eventually(func() bool { return l.service.Report().Hosts[0].InFlight == 0 })
	r := l.service.Report()
	if r.Hosts[0].MaxInFlight != 32 || r.Disks[0].MaxInFlight != 32 || r.Hosts[0].MaxBufferBytes != 32*mib || r.Disks[0].InFlight != 0 {
		t.Fatalf("%+v", r)
	}
}

func TestBuffersOfAHost(t *testing.T) {
	l := start(t)
	must(t, l.service.AddRule(nfc.Rule{At: "read", Mode: "silent"}))
	c, handle := l.open()
	other, second := l.open()
	l.ask(c, handle, 24)
	l.ask(other, second, 24)
	l.eventually(func() bool { return l.service.Report().Hosts[0].InFlight == 48 })
	l.service.ClearRules()
	_, err := other.Read(second, 0, 512, 0) // of the other connection's
	mustRefuse(t, err, nfc.CodeMemory)
	must(t, c.CloseFile(handle))
	_, err = other.Read(second, 0, 512, 0)
	must(t, err)
	if n := l.service.Report().Hosts[0].RefusedBuffers; n != 1 {
		t.Fatal(n)
	}
	l.none()
}

func TestForget(t *testing.T) {
	l := start(t)
	c, handle := l.open()
	_, err := c.Read(handle, 0, mib, 0)
	must(t, err)
	l.eventually(func() bool { // bytes count when they have gone
		r := l.service.Report()
		return r.Disks[0].Reads == 1 && r.Hosts[0].BytesSent > mib && r.Disks[0].Chunks["0"] == 16
	})
	l.service.Forget()
	if r := l.service.Report(); r.Disks[0].Reads != 0 || r.Hosts[0].BytesSent > 0 || r.Disks[0].Open != 1 || r.Hosts[0].MaxConnections != 1 {
		t.Fatalf("%+v", r)
	}
}
