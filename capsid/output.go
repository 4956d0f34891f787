package capsid

import (
	"bytes"
	"io"
	"os"
	"sync"
)

// output takes what a cell writes to stdout and stderr: passes it on, counts
// it, and keeps the end.
type output struct {
	sink  io.Writer
	limit int64
	full  func() // called once, when limit is passed

	mu    sync.Mutex
	last  []byte // at most 2×TailBytes
	total int64
}

// copyFrom reads r to its end.
func (o *output) copyFrom(r *os.File) {
	b := make([]byte, 8<<10)
	for {
		n, err := r.Read(b)
		if n > 0 {
			o.take(b[:n])
		}
		if err != nil {
			return
		}
	}
}

func (o *output) take(b []byte) {
	if o.sink != nil {
		_, _ = o.sink.Write(b) // a log that can't be written must not stop the cell
	}
	o.mu.Lock()
	before := o.total
	o.total += int64(len(b))
	o.last = append(o.last, b...)
	if extra := len(o.last) - TailBytes; extra > TailBytes {
		o.last = append(o.last[:0], o.last[extra:]...)
	}
	passed := o.limit > 0 && before <= o.limit && o.total > o.limit
	o.mu.Unlock()
	if passed {
		o.full()
	}
}

// tail returns the last lines.
func (o *output) tail() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := o.last[max(0, len(o.last)-TailBytes):]
	if b = bytes.TrimRight(b, "\n"); len(b) == 0 {
		return nil
	}
	lines := bytes.Split(b, []byte("\n"))
	lines = lines[max(0, len(lines)-TailLines):]
	text := make([]string, len(lines))
	for i, l := range lines {
		text[i] = string(bytes.ToValidUTF8(l, []byte("?")))
	}
	return text
}

func (o *output) bytes() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.total
}
