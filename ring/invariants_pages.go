//go:build invariants

package ring

import (
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	untouchable = unix.PROT_NONE
	readOnly    = unix.PROT_READ
	writable    = unix.PROT_READ | unix.PROT_WRITE
)

// page is private memory of whole pages for one payload. Where the limits
// leave no mapping, it is ordinary memory and protects nothing.
type page struct {
	bytes  []byte
	mapped bool
}

// guarded counts the mappings of this process.
var guarded atomic.Int64

var pageSize = os.Getpagesize()

func newPage(size int) page {
	if guarded.Add(1) <= maxGuarded {
		if b, err := unix.Mmap(-1, 0, size, writable, unix.MAP_PRIVATE|unix.MAP_ANON); err == nil {
			return page{b, true}
		}
	}
	guarded.Add(-1)
	return page{make([]byte, size), false}
}

// protect may fail where the kernel can't split another mapping; then the
// page protects nothing.
func (p page) protect(prot int) {
	if p.mapped {
		_ = unix.Mprotect(p.bytes, prot)
	}
}

func (p page) free() {
	if p.mapped {
		guarded.Add(-1)
		_ = unix.Munmap(p.bytes)
	}
}

// guard owns the pages of one side: those handed out and those in quarantine,
// each oldest first.
type guard struct {
	out, back []page
}

// hand returns a writable page for n bytes.
func (g *guard) hand(n int) page {
	size := max(1, (n+pageSize-1)/pageSize) * pageSize
	var p page
	if len(g.back) >= quarantined && g.back[0].mapped && len(g.back[0].bytes) == size {
		p = g.back[0]
		g.back = g.back[1:]
		p.protect(writable)
	} else {
		p = newPage(size)
	}
	g.out = append(g.out, p)
	return p
}

// retire puts the n oldest pages that are out into quarantine.
func (g *guard) retire(n int) {
	for _, p := range g.out[:n] {
		if p.mapped {
			p.protect(untouchable)
			g.back = append(g.back, p)
		}
	}
	g.out = g.out[n:]
	for len(g.back) > quarantined {
		g.back[0].free()
		g.back = g.back[1:]
	}
}

func (g *guard) close() {
	for _, pages := range [][]page{g.out, g.back} {
		for _, p := range pages {
			p.free()
		}
	}
	g.out, g.back = nil, nil
}
