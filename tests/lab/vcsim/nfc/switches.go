package nfc

import (
	"fmt"
	"slices"
)

// Switches are what the protocol page leaves open, and the numbers that a host may have otherwise.
type Switches struct {
	Greeting           string  `json:"greeting"`            // "full"; "no-sha256" and "no-nfcssl" are older hosts
	TicketHost         string  `json:"ticket_host"`         // "auto": left out by a bare host; "named", "left-out"
	TicketPort         int32   `json:"ticket_port"`         // told instead of the host's own, which 0 is: of a proxy in front of it
	TicketSeconds      float64 `json:"ticket_seconds"`      // for so long a ticket waits to be used; 0: for ever
	TicketThumbprint   string  `json:"ticket_thumbprint"`   // "right", "wrong"
	RefuseTicketAt     string  `json:"refuse_ticket_at"`    // where a bad ticket is refused: "banner", "thumbprint", "proxy"
	SHA256             string  `json:"sha256"`              // of the certificate, in the dialogue: "right", "wrong"
	SecondCertificate  string  `json:"second_certificate"`  // "same", "other"
	Hex                string  `json:"hex"`                 // of thumbprints: "upper", "lower"
	CloseOnRefusal     bool    `json:"close_on_refusal"`    // the connection ends with a 501 or 530
	Tag                string  `json:"tag"`                 // that is taken: "any", "PlainText", "tag"
	Version            uint32  `json:"version"`             // the host's own: 11, 12
	VersionB           uint32  `json:"version_b"`           // the second number beside it: 0, 1
	MaxConnections     int     `json:"max_connections"`     // of one host; 0: 50, or 52 through vCenter
	LimitAt            string  `json:"limit_at"`            // how one more is refused: "handshake" (type 4), "connect" (closed)
	BufferBytes        int64   `json:"buffer_bytes"`        // for all reads in flight of one host
	ReadBytes          int64   `json:"read_bytes"`          // of one read
	Hello              string  `json:"hello"`               // the answer: "zeros", "echo", "sizes", "long"
	Silent             []int   `json:"silent"`              // opcodes that are not answered: 9, 22, 5, 3
	StrictOrder        bool    `json:"strict_order"`        // open only after hello, options and pool
	ReplyAfterError    bool    `json:"reply_after_error"`   // an error record is followed by the refused record's reply
	RefusedStatus      string  `json:"refused_status"`      // in that reply: "code", "one", "ones", "zero"
	ErrorSequence      string  `json:"error_sequence"`      // of error records: "echo", "zero"
	Reserved           string  `json:"reserved"`            // what nobody knows the meaning of: "zeros", "noise"
	ChunkBytes         int64   `json:"chunk_bytes"`         // at most 65536
	ChunkOrder         string  `json:"chunk_order"`         // "shuffled" (and mixed with other requests'), "forward", "reverse"
	Encodings          []int   `json:"encodings"`           // that are made: of 1 (zlib) and 3 (skipz)
	OtherEncodings     string  `json:"other_encodings"`     // what asks for another one: "refused", "plain"
	SkipzStored        bool    `json:"skipz_stored"`        // a chunk that would not shrink comes as 3, stored as it is, where it can
	SkipzGrain         int     `json:"skipz_grain"`         // the shortest run of zeros that is left out
	SkipzOrder         string  `json:"skipz_order"`         // of segments: "forward", "reverse"
	WholeSectors       bool    `json:"whole_sectors"`       // a read of parts of sectors is refused
	Exclusive          bool    `json:"exclusive"`           // a file that is open cannot be opened once more
	LatencyMS          float64 `json:"latency_ms"`          // that each read takes at least
	CapacityDelta      int64   `json:"capacity_delta"`      // told in addition to the true capacity
	SectorSize         uint32  `json:"sector_size"`         // told
	SecondsForLockWait float64 `json:"seconds_for_locks"`   // a task of vCenter waits for the locks of NFC for so long
	FolderLocks        bool    `json:"folder_locks"`        // the datastore browser and NFC keep each other out
	ConnectionSeconds  float64 `json:"connection_seconds"`  // a connection without a record for so long is cut; 0: never
	EarlyAnswer        bool    `json:"early_answer"`        // message 36 comes after 33 already, and not after 51
	LibVersion         int32   `json:"lib_version"`         // NfcGetServerNfcLibVersion
	ShortGreetingLine  bool    `json:"short_greeting_line"` // BANNER is answered by "220 " and nothing else
}

// Standard is the host as it is without a switch.
func Standard() Switches {
	return Switches{
		Greeting: "full", TicketHost: "auto", TicketSeconds: 120, TicketThumbprint: "right", RefuseTicketAt: "banner",
		SHA256: "right", SecondCertificate: "same", Hex: "upper", Tag: "any", Version: 11, LimitAt: "handshake",
		BufferBytes: 48 << 20, ReadBytes: 1 << 20, Hello: "zeros", Silent: []int{}, ReplyAfterError: true,
		RefusedStatus: "code", ErrorSequence: "echo", Reserved: "zeros", ChunkBytes: maxChunk, ChunkOrder: "shuffled",
		Encodings: []int{encodeZlib, encodeSkipz}, OtherEncodings: "refused", SkipzGrain: 512, SkipzOrder: "forward",
		SectorSize: 512, SecondsForLockWait: 2, FolderLocks: true, LibVersion: 11,
	}
}

// Check refuses what cannot be meant.
func (s Switches) Check() error {
	for _, c := range []struct {
		name, value string
		allowed     []string
	}{
		{"greeting", s.Greeting, []string{"full", "no-sha256", "no-nfcssl"}},
		{"ticket_host", s.TicketHost, []string{"auto", "named", "left-out"}},
		{"ticket_thumbprint", s.TicketThumbprint, []string{"right", "wrong"}},
		{"refuse_ticket_at", s.RefuseTicketAt, []string{"banner", "thumbprint", "proxy"}},
		{"sha256", s.SHA256, []string{"right", "wrong"}},
		{"second_certificate", s.SecondCertificate, []string{"same", "other"}},
		{"hex", s.Hex, []string{"upper", "lower"}},
		{"tag", s.Tag, []string{"any", "PlainText", "tag"}},
		{"limit_at", s.LimitAt, []string{"handshake", "connect"}},
		{"hello", s.Hello, []string{"zeros", "echo", "sizes", "long"}},
		{"refused_status", s.RefusedStatus, []string{"code", "one", "ones", "zero"}},
		{"error_sequence", s.ErrorSequence, []string{"echo", "zero"}},
		{"reserved", s.Reserved, []string{"zeros", "noise"}},
		{"chunk_order", s.ChunkOrder, []string{"shuffled", "forward", "reverse"}},
		{"other_encodings", s.OtherEncodings, []string{"refused", "plain"}},
		{"skipz_order", s.SkipzOrder, []string{"forward", "reverse"}},
	} {
		if !slices.Contains(c.allowed, c.value) {
			return fmt.Errorf("%s %q: must be one of %v", c.name, c.value, c.allowed)
		}
	}
	switch {
	case s.Version != 11 && s.Version != 12:
		return fmt.Errorf("version must be 11 or 12")
	case s.VersionB > 1:
		return fmt.Errorf("version_b must be 0 or 1")
	case s.ChunkBytes < 1 || s.ChunkBytes > maxChunk:
		return fmt.Errorf("chunk_bytes must be 1 to %d", maxChunk)
	case s.SkipzGrain < 1:
		return fmt.Errorf("skipz_grain must be at least 1")
	case s.TicketPort < 0 || s.TicketPort > 65535:
		return fmt.Errorf("ticket_port must be 0 to 65535")
	case s.ReadBytes < 1 || s.BufferBytes < 1 || s.MaxConnections < 0 || s.LatencyMS < 0 || s.TicketSeconds < 0:
		return fmt.Errorf("a limit is too low")
	}
	return nil
}

// Switches are those that stand.
func (s *Service) Switches() Switches {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.switches
}

// Switch sets them all; connections that are there follow from their next step on.
func (s *Service) Switch(next Switches) error {
	if err := next.Check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.switches = next
	return nil
}
