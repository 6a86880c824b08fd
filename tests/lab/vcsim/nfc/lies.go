package nfc

// lies are what a broken host may say about a chunk. The frame keeps its length, so that what follows can be read.
var lies = map[string]func(frame []byte){
	"sequence": func(f []byte) { f[12] ^= 0x40 },                     // of no request
	"opcode":   func(f []byte) { f[4] = opOptions },                  // of no read
	"magic":    func(f []byte) { f[0]++ },                            //
	"payload":  func(f []byte) { le.PutUint32(f[8:], 0xffffffff) },   // a reply of 4 GiB
	"status":   func(f []byte) { at(f)[0] = 1 },                      // failed, without an error record
	"offset":   func(f []byte) { at(f)[18] ^= 1 },                    // of another request
	"total":    func(f []byte) { at(f)[24] ^= 1 },                    // of a request of another length
	"beyond":   func(f []byte) { le.PutUint32(at(f)[28:], 2<<20) },   // behind its request
	"overlap":  func(f []byte) { le.PutUint32(at(f)[28:], 0) },       // over the first one; the first one itself is true
	"longer":   func(f []byte) { grow(at(f)[32:], 1) },               // than what comes
	"shorter":  func(f []byte) { grow(at(f)[32:], ^uint32(0)) },      //
	"empty":    func(f []byte) { le.PutUint32(at(f)[32:], 0) },       //
	"huge":     func(f []byte) { le.PutUint32(at(f)[36:], 1<<31) },   // on the wire
	"encoding": func(f []byte) { le.PutUint32(at(f)[12:], 7) },       // that there is not
	"zlib":     func(f []byte) { le.PutUint32(at(f)[12:], 1) },       // for what is no zlib stream
	"segment":  func(f []byte) { le.PutUint32(data(f, 12), 1<<30) },  // of skipz, longer than the chunk
	"place":    func(f []byte) { le.PutUint32(data(f, 8), 1<<31-1) }, // of a segment, outside
}

func at(frame []byte) []byte { return frame[headerBytes:] }

func grow(field []byte, by uint32) { le.PutUint32(field, le.Uint32(field)+by) }

// data is what comes behind the reply, from offset on; four bytes of nothing where it is shorter.
func data(frame []byte, offset int) []byte {
	if rest := frame[headerBytes+44:]; len(rest) >= offset+4 {
		return rest[offset:]
	}
	return make([]byte, 4)
}
