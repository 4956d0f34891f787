package metrics

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func fixCRC(entry []byte, o binary.ByteOrder) {
	o.PutUint32(entry[descCRC:], crc32.Checksum(entry[4:descriptorSize], castagnoli))
}

func TestReaderRefuses(t *testing.T) {
	o := binary.NativeEndian
	entry := func(i int) int { return headerSize + i*descriptorSize }
	for _, c := range []struct {
		name   string
		mangle func(b []byte) []byte
		want   error
	}{
		{"nothing", func(b []byte) []byte { return nil }, ErrNotMetrics},
		{"a page of zeros", func(b []byte) []byte { return make([]byte, 4096) }, ErrNotMetrics},
		{"another magic", func(b []byte) []byte { b[0]++; return b }, ErrNotMetrics},
		{"no order mark", func(b []byte) []byte { b[offOrder]++; return b }, ErrCorrupt},
		{"a later version", func(b []byte) []byte { o.PutUint32(b[offVersion:], 2); return b }, ErrVersion},
		{"other descriptors", func(b []byte) []byte { o.PutUint32(b[offDescSize:], 256); return b }, ErrCorrupt},
		{"still being created", func(b []byte) []byte { o.PutUint64(b[offState:], 0); return b }, ErrNotReady},
		{"an unknown state", func(b []byte) []byte { o.PutUint64(b[offState:], 9); return b }, ErrCorrupt},
		{"half of it", func(b []byte) []byte { return b[:len(b)/2] }, ErrTruncated},
		{"a size beyond the limit", func(b []byte) []byte { o.PutUint64(b[offSize:], 1<<62); return b }, ErrCorrupt},
		{"a negative size", func(b []byte) []byte { o.PutUint64(b[offSize:], 1<<63); return b }, ErrCorrupt},
		{"a table beyond the file", func(b []byte) []byte { o.PutUint64(b[offCapacity:], 60000); return b }, ErrCorrupt},
		{"a table beyond belief", func(b []byte) []byte { o.PutUint64(b[offCapacity:], 1<<63); return b }, ErrCorrupt},
		{"more descriptors than the table", func(b []byte) []byte { o.PutUint64(b[offCount:], 5); return b }, ErrCorrupt},
		{"a descriptor too many", func(b []byte) []byte { o.PutUint64(b[offCount:], 4); return b }, ErrCorrupt},
		{"a flipped bit in a name", func(b []byte) []byte { b[entry(0)+descText+3] ^= 1; return b }, ErrCorrupt},
		{"counts beyond 2^63", func(b []byte) []byte {
			for i := len(b) - 2048; i < len(b); i += 8 {
				o.PutUint64(b[i:], 1<<62)
			}
			at := o.Uint64(b[entry(2)+descOffset:])
			for i := range 20 {
				o.PutUint64(b[at+histHead*8+uint64(i)*8:], 1<<62)
			}
			return b
		}, ErrCorrupt},
		{"unknown kind", patch(0, descKind, 4, 7), ErrCorrupt},
		{"value before the values", patch(0, descOffset, 8, 0), ErrCorrupt},
		{"value at an odd offset", patch(0, descOffset, 8, 6401), ErrCorrupt},
		{"value at the end", patch(0, descOffset, 8, MinSize), ErrCorrupt},
		{"value far away", patch(0, descOffset, 8, 1<<63), ErrCorrupt},
		{"offset and size overflow", patch(2, descOffset, 8, 1<<64-8), ErrCorrupt},
		{"counter of 16 bytes", patch(0, descSize, 8, 16), ErrCorrupt},
		{"histogram of another size", patch(2, descSize, 8, 64), ErrCorrupt},
		{"histogram of six digits", patch(2, descDigits, 4, 6), ErrCorrupt},
		{"histogram larger than the file", patch(2, descDigits, 4, 5), ErrCorrupt},
		{"histogram from nowhere", patch(2, descLowest, 8, 1<<63), ErrCorrupt},
		{"no strings", patch(0, descStrings, 4, 0), ErrCorrupt},
		{"an odd label", patch(0, descStrings, 4, 5), ErrCorrupt},
		{"strings beyond the entry", patch(0, descStrings, 4, 232), ErrCorrupt},
		{"too many strings", patch(0, descStrings, 4, 1<<31), ErrCorrupt},
		{"string longer than the entry", patch(0, descText, 2, 0xffff), ErrCorrupt},
		{"empty name", patch(0, descText, 2, 0), ErrCorrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := c.mangle(image())
			r, err := NewReader(bytes.NewReader(b), int64(len(b)))
			if err == nil {
				_, err = r.Snapshot()
			}
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
		})
	}
}

// patch sets a field of descriptor i and makes the checksum right again.
func patch(i, at, width int, v uint64) func([]byte) []byte {
	return func(b []byte) []byte {
		entry := b[headerSize+i*descriptorSize:][:descriptorSize]
		switch width {
		case 2:
			binary.NativeEndian.PutUint16(entry[at:], uint16(v))
		case 4:
			binary.NativeEndian.PutUint32(entry[at:], uint32(v))
		case 8:
			binary.NativeEndian.PutUint64(entry[at:], v)
		}
		fixCRC(entry, binary.NativeEndian)
		return b
	}
}

// A thousand descriptors of one histogram: the reader must not allocate it a
// thousand times.
func TestReaderRefusesOverlappingValues(t *testing.T) {
	f := must(Anonymous(Options{Size: 1 << 20, Instruments: 1000}))
	must(f.Histogram("h", "", "", HistogramOptions{}))
	b := make([]byte, f.mem.size())
	must(f.mem.ReadAt(b, 0))
	for i := 1; i < 1000; i++ {
		copy(b[headerSize+i*descriptorSize:], b[headerSize:headerSize+descriptorSize])
	}
	binary.NativeEndian.PutUint64(b[offCount:], 1000)
	r := must(NewReader(bytes.NewReader(b), int64(len(b))))
	if _, err := r.Snapshot(); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("got %v, want ErrCorrupt", err)
	}
}

func TestReaderRefusesShrinkingTable(t *testing.T) {
	b := image()
	r := must(NewReader(bytes.NewReader(b), int64(len(b))))
	must(r.Snapshot())
	binary.NativeEndian.PutUint64(b[offCount:], 1)
	if _, err := r.Snapshot(); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("got %v, want ErrCorrupt", err)
	}
}

func TestReaderOfFileTruncatedWhileOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m")
	if err := os.WriteFile(path, image(), 0o600); err != nil {
		t.Fatal(err)
	}
	r := open(t, path)
	must(r.Snapshot())
	for _, size := range []int64{6500, headerSize + 10, 20, 0} {
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Snapshot(); !errors.Is(err, ErrTruncated) {
			t.Errorf("at %d bytes: %v, want ErrTruncated", size, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, dir, "/dev/zero"} {
		if _, err := Open(path); !errors.Is(err, ErrNotMetrics) {
			t.Errorf("%s: %v, want ErrNotMetrics", path, err)
		}
	}
	if _, err := Open(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

// A writer that died within Reset leaves an odd epoch for ever.
func TestReaderOfResetThatNeverEnded(t *testing.T) {
	b := image()
	at := binary.NativeEndian.Uint64(b[headerSize+2*descriptorSize+descOffset:])
	binary.NativeEndian.PutUint64(b[at:], 7)
	s := must(must(NewReader(bytes.NewReader(b), int64(len(b)))).Snapshot())
	if d := s.Samples[2].Histogram; d.Count() != 0 || d.Epoch() != 8 {
		t.Errorf("%d values in epoch %d, want 0 in 8", d.Count(), d.Epoch())
	}
}

// epochs counts the epoch up at every look, as if resets never paused.
type epochs struct {
	b  []byte
	at int64
}

func (e *epochs) ReadAt(p []byte, off int64) (int, error) {
	if off == e.at {
		binary.NativeEndian.PutUint64(e.b[off:], binary.NativeEndian.Uint64(e.b[off:])+2)
	}
	return bytes.NewReader(e.b).ReadAt(p, off)
}

func TestReaderOfEndlessResetsEnds(t *testing.T) {
	b := image()
	at := int64(binary.NativeEndian.Uint64(b[headerSize+2*descriptorSize+descOffset:]))
	s := must(must(NewReader(&epochs{b, at}, int64(len(b)))).Snapshot())
	if d := s.Samples[2].Histogram; d.Count() != 0 {
		t.Errorf("%d values", d.Count())
	}
}

// Run it with -fuzzminimizetime=10x: by default the fuzzer spends a minute on
// shortening each interesting file, and a file can't be shortened.
func FuzzReader(f *testing.F) {
	f.Add([]byte{}, false)
	f.Add(make([]byte, 4096), true)
	f.Add(image(), false)
	f.Add(image(), true)
	f.Add(swapImage(image()), true)
	f.Fuzz(func(t *testing.T, b []byte, fix bool) {
		// Without right checksums nothing behind them would ever be reached.
		for at := headerSize; fix && at+descriptorSize <= len(b); at += descriptorSize {
			if bytes.HasPrefix(b[min(offOrder, len(b)):], []byte{1, 2}) {
				fixCRC(b[at:], binary.BigEndian)
			} else {
				fixCRC(b[at:], binary.LittleEndian)
			}
		}
		r, err := NewReader(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		_ = r.PID()
		for range 2 {
			s, err := r.Snapshot()
			if err != nil {
				return
			}
			exercise(t, s)
		}
	})
}

// exercise calls everything that interprets a snapshot.
func exercise(t *testing.T, s *Snapshot) {
	if err := WritePrometheus(io.Discard, s); err != nil {
		t.Error(err)
	}
	if d, err := s.Sub(s); err != nil {
		t.Errorf("a snapshot from itself: %v", err)
	} else if _, err := d.Merged(); err != nil && !errors.Is(err, ErrLayout) {
		t.Error(err)
	}
	_, _ = s.Merged()
	for _, m := range s.Samples {
		if d := m.Histogram; d != nil {
			if sum := d.Summary(); sum.P50 > sum.Max || sum.Count > 0 && sum.Min > sum.Max {
				t.Errorf("%+v", sum)
			}
			_ = d.Points(5)
		}
	}
}
