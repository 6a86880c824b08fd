package nfc_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"migratekit.invalid/lab/vcsim/nfc"
	"migratekit.invalid/lab/vcsim/nfctest"
)

func TestAnswersToTheFirstRecords(t *testing.T) {
	for hello, want := range map[string]string{"zeros": "", "echo": "\x07", "sizes": "\x00\x00\x01\x00\x04", "long": "\x00\x00\x20\x00\x04"} {
		l := start(t, func(s *nfc.Switches) { s.Hello = hello })
		c, err := nfctest.Connect(l.ticket())
		must(t, err)
		defer c.Close()
		for _, r := range []struct {
			op             uint32
			payload        []byte
			want           string
			length, longer int
		}{{2, append([]byte{7}, make([]byte, 15)...), want, 16, 32}, {9, make([]byte, 12), "", 12, 12}, {22, []byte{1, 0, 0, 0}, "", 4, 4}} {
			answer, err := c.Do(r.op, r.payload, nil)
			must(t, err)
			length := r.length
			if hello == "long" {
				length = r.longer
			}
			if len(answer.Payload) != length || strings.TrimRight(string(answer.Payload), "\x00") != r.want {
				t.Fatalf("%d: %x", r.op, answer.Payload)
			}
		}
		l.none()
	}
}

func TestRecordsThatAreNotAnswered(t *testing.T) {
	l := start(t, func(s *nfc.Switches) { s.Silent = []int{9, 22, 5, 3} })
	c, err := nfctest.Connect(l.ticket())
	must(t, err)
	defer c.Close()
	_, err = c.Do(2, make([]byte, 16), nil)
	must(t, err)
	for op, payload := range map[uint32][]byte{9: make([]byte, 12), 22: {1, 0, 0, 0}} {
		_, err = c.Put(op, payload, nil)
		must(t, err)
	}
	handle, _, err := c.Open(disk)
	must(t, err)
	_, err = c.Put(5, le.AppendUint64(le.AppendUint64(nil, handle), 0), nil)
	must(t, err)
	_, err = c.Put(3, make([]byte, 16), nil)
	must(t, err)
	must(t, c.Send(message(4, 0, 0)))
	if _, err := c.Get(); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	l.none()
}

// Each is a record that is refused with an error record, and the reply behind it if it is of known length.
func TestRecordsThatAreRefused(t *testing.T) {
	open := func(change func(p []byte)) []byte {
		p := nfctest.OpenPayload(disk)
		change(p)
		return p
	}
	zeros := make([]byte, 60)
	for name, c := range map[string]struct {
		op        uint32
		payload   []byte
		trailer   string
		code      uint64
		violation string
	}{
		"options":          {9, append([]byte{1}, zeros[:11]...), "", nfc.CodeInvalid, "socket options"},
		"pool":             {22, []byte{2, 0, 0, 0}, "", nfc.CodeInvalid, "resource pool 2"},
		"open for writing": {4, open(func(p []byte) { p[20] = 0x1f }), disk, nfc.CodePermission, "only reading"},
		"open without 2":   {4, open(func(p []byte) { p[16] = 0 }), disk, nfc.CodeInvalid, "zeros"},
		"open with more":   {4, open(func(p []byte) { p[59] = 1 }), disk, nfc.CodeInvalid, "zeros"},
		"open with more 2": {4, open(func(p []byte) { p[4] = 1 }), disk, nfc.CodeInvalid, "zeros"},
		"open of no text":  {4, open(func([]byte) {}), strings.Replace(disk, "v", "\xff", 1), nfc.CodeInvalid, "no text"},
		"open, long path":  {4, open(func(p []byte) { p[3] = 1 }), disk, nfc.CodeInvalid, "path of"},
		"open, no path":    {4, open(func(p []byte) { clear(p[:4]) }), "", nfc.CodeInvalid, "path of 0"},
		"close of nothing": {5, zeros[:16], "", nfc.CodeInvalid, "not open"},
		"end with more":    {3, append([]byte{1}, zeros[:15]...), "", nfc.CodeInvalid, "end with"},
	} {
		t.Run(name, func(t *testing.T) {
			l := start(t)
			_, err := l.begin().Do(c.op, c.payload, []byte(c.trailer))
			mustRefuse(t, err, c.code)
			l.oneViolation(c.violation)
		})
	}
}

// Each is a record after which nothing can be understood any more: the host says so, and ends the session.
func TestRecordsThatEndTheSession(t *testing.T) {
	for name, c := range map[string]struct {
		frame     []byte
		violation string
		silent    bool
	}{
		"no magic":        {make([]byte, 32), "magic", true},
		"unknown":         {nfctest.Header(99, 0, 3), "record 99", false},
		"not for reading": {nfctest.Header(11, 16, 3), "record 11", false},
		"a long hello":    {nfctest.Header(2, 17, 3), "17 bytes", false},
		"a short read":    {nfctest.Header(7, 40, 3), "40 bytes", false},
		"number too low":  {append(nfctest.Header(2, 16, 2), make([]byte, 16)...), "number 2, not 3", false},
		"number too high": {append(nfctest.Header(2, 16, 4), make([]byte, 16)...), "number 4, not 3", false},
	} {
		t.Run(name, func(t *testing.T) {
			l := start(t)
			client := l.begin()
			must(t, client.Send(c.frame))
			if !c.silent {
				r, err := client.Get()
				must(t, err)
				if r.Op != 1 || le.Uint64(r.Payload) != nfc.CodeInvalid {
					t.Fatalf("%+v", r)
				}
			}
			if r, err := client.Get(); err == nil {
				t.Fatalf("it goes on: %+v", r)
			}
			l.oneViolation(c.violation)
		})
	}
}

func TestOrderOfRecords(t *testing.T) {
	l := start(t)
	c, err := nfctest.Connect(l.ticket())
	must(t, err)
	defer c.Close()
	_, _, err = c.Open(disk)
	mustRefuse(t, err, nfc.CodeInvalid)
	l.oneViolation("before hello")

	for strict, code := range map[bool]uint64{false: 0, true: nfc.CodeInvalid} {
		l = start(t, func(s *nfc.Switches) { s.StrictOrder = strict })
		c, err = nfctest.Connect(l.ticket())
		must(t, err)
		defer c.Close()
		_, err = c.Do(2, make([]byte, 16), nil)
		must(t, err)
		if _, _, err = c.Open(disk); strict {
			mustRefuse(t, err, code)
		} else {
			must(t, err)
		}
	}
}

func TestOpenAndClose(t *testing.T) {
	l := start(t)
	c := l.begin()
	_, _, err := c.Open("[store] vm/other.vmdk")
	mustRefuse(t, err, nfc.CodeLocked) // as the machine says
	handle, _, err := c.Open(disk)
	must(t, err)
	if open := l.service.Report().Open; len(open) != 1 || open[0].File != disk || open[0].VM != "vm" {
		t.Fatalf("%+v", open)
	}
	_, err = c.Do(5, le.AppendUint64(le.AppendUint64(nil, handle), 1), nil)
	mustRefuse(t, err, nfc.CodeInvalid)
	l.oneViolation("close with")
	must(t, c.CloseFile(handle))
	if open := l.service.Report().Open; len(open) != 0 {
		t.Fatalf("%+v", open)
	}
	_, err = c.Read(handle, 0, 512, 0)
	mustRefuse(t, err, nfc.CodeInvalid)
	must(t, c.End())
	l.eventually(func() bool { r := l.service.Report(); return r.Tickets.Ended == 1 && r.Tickets.Aborted == 0 })
}

func TestATicketForSomeFiles(t *testing.T) {
	l := start(t)
	ticket := l.ticket()
	ticket.Session = l.service.Issue(l.host, l.machine, "nfc", func(path string) bool { return path != disk })
	c, err := nfctest.Begin(ticket)
	must(t, err)
	defer c.Close()
	_, _, err = c.Open(disk)
	mustRefuse(t, err, nfc.CodePermission)
	l.none()
}

func TestTheEnd(t *testing.T) {
	l := start(t)
	c := l.begin()
	must(t, c.Send(message(4, 0, 0))) // without a last record
	_, err := c.Get()
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	l.none()
	c = l.begin()
	_, err = c.Do(3, make([]byte, 16), nil)
	must(t, err)
	_, err = c.Put(2, make([]byte, 16), nil) // and goes on
	must(t, err)
	l.oneViolation("behind the last record")
	// A file that is open when its client dies is closed.
	c, _ = l.open()
	c.Close()
	l.eventually(func() bool { r := l.service.Report(); return len(r.Open) == 0 && r.Tickets.Aborted == 1 })
}

func TestErrorRecordsAndReplies(t *testing.T) {
	for status, want := range map[string]uint64{"code": nfc.CodeInvalid, "one": 1, "ones": ^uint64(0), "zero": 0} {
		l := start(t, func(s *nfc.Switches) { s.RefusedStatus = status })
		err := l.begin().CloseFile(1)
		var failure *nfctest.Failure
		if !errors.As(err, &failure) || *failure.Status != want || failure.Text == "" {
			t.Fatal(status, err)
		}
	}
	l := start(t, func(s *nfc.Switches) { s.ReplyAfterError, s.ErrorSequence = false, "zero" })
	c := l.begin()
	_, err := c.Put(5, make([]byte, 16), nil)
	must(t, err)
	r, err := c.Get()
	must(t, err)
	if r.Op != 1 || r.Sequence != 0 {
		t.Fatalf("%+v", r)
	}
	_, _, err = c.Open(disk) // whose reply is the next
	must(t, err)
}

func TestNoise(t *testing.T) {
	l := start(t, func(s *nfc.Switches) { s.Reserved, s.CapacityDelta = "noise", 512 })
	c := l.begin()
	handle, capacity, err := c.Open(disk)
	must(t, err)
	want := l.machine.disks[disk]
	if capacity != uint64(len(want))+512 {
		t.Fatal(capacity)
	}
	for _, encoding := range []uint32{0, 1, 3} {
		data, err := c.Read(handle, 512, mib, encoding)
		must(t, err)
		same(t, data, want[512:512+mib])
	}
	l.none()
}

func TestSwitchesThatCannotBeMeant(t *testing.T) {
	service := nfc.NewService()
	for name, change := range map[string]func(*nfc.Switches){
		"greeting": func(s *nfc.Switches) { s.Greeting = "none" }, "version": func(s *nfc.Switches) { s.Version = 13 },
		"b": func(s *nfc.Switches) { s.VersionB = 2 }, "chunk": func(s *nfc.Switches) { s.ChunkBytes = 65537 },
		"grain": func(s *nfc.Switches) { s.SkipzGrain = 0 }, "limit": func(s *nfc.Switches) { s.ReadBytes = 0 },
	} {
		switches := nfc.Standard()
		change(&switches)
		if service.Switch(switches) == nil {
			t.Fatal(name)
		}
	}
}
