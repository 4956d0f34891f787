package wasm

import "encoding/binary"

// guest assembles a module by hand: tests need no compiler for WebAssembly.
type guest struct {
	imports  [][2]string
	pages    byte
	buffer   []byte // body of cell_buffer(size i32) i32
	call     []byte // body of cell_call(fingerprint i64, size i32) i64
	noExport bool
}

// Instructions, as far as they are needed (WebAssembly core, 5.4).
const (
	opUnreachable, opLoop, opBr, opEnd, opCall          = 0x00, 0x03, 0x0c, 0x0b, 0x10
	opLocalGet, opI32Const, opI64Const, opDrop          = 0x20, 0x41, 0x42, 0x1a
	opI64Extend, opI64Or, opGrow, opI32Load, opI32Store = 0xad, 0x84, 0x40, 0x28, 0x36
	void                                                = 0x40
)

func uleb(n int) []byte { return binary.AppendUvarint(nil, uint64(n)) }

func sleb(n int64) (b []byte) {
	for {
		c := byte(n & 0x7f)
		n >>= 7
		if n == 0 && c&0x40 == 0 || n == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func vector(items ...[]byte) []byte {
	b := uleb(len(items))
	for _, i := range items {
		b = append(b, i...)
	}
	return b
}

func sized(b []byte) []byte { return append(uleb(len(b)), b...) }

func section(id byte, b []byte) []byte { return append([]byte{id}, sized(b)...) }

func join(parts ...[]byte) (b []byte) {
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// requestAt is where the guests here have their buffer, of the rest of a page.
const requestAt = 1024

// echoBuffer and echoCall answer every request with itself, in place.
var (
	echoBuffer = join([]byte{opI32Const}, sleb(requestAt))
	echoCall   = join([]byte{opI64Const}, sleb(requestAt<<32), []byte{opLocalGet, 1, opI64Extend, opI64Or})
)

func (g guest) module() []byte {
	if g.pages == 0 {
		g.pages = 1
	}
	if g.buffer == nil {
		g.buffer = echoBuffer
	}
	if g.call == nil {
		g.call = echoCall
	}
	var imports [][]byte
	for _, i := range g.imports {
		imports = append(imports, join(sized([]byte(i[0])), sized([]byte(i[1])), []byte{0, 2}))
	}
	n := byte(len(imports))
	name := "cell_call"
	if g.noExport {
		name = "other"
	}
	body := func(code []byte) []byte { return sized(join([]byte{0}, code, []byte{opEnd})) }
	return join([]byte("\x00asm\x01\x00\x00\x00"),
		section(1, vector([]byte{0x60, 1, 0x7f, 1, 0x7f}, []byte{0x60, 2, 0x7e, 0x7f, 1, 0x7e}, []byte{0x60, 2, 0x7f, 0x7f, 0})),
		section(2, vector(imports...)),
		section(3, vector([]byte{0}, []byte{1})),
		section(5, vector([]byte{0, g.pages})),
		section(7, vector(join(sized([]byte("memory")), []byte{2, 0}), join(sized([]byte("cell_buffer")), []byte{0, n}), join(sized([]byte(name)), []byte{0, n + 1}))),
		section(10, vector(body(g.buffer), body(g.call))))
}
