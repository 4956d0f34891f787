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

// queue holds pages, oldest first. It allocates only to grow.
type queue struct {
	pages []page
	head  int
}

func (q *queue) len() int     { return len(q.pages) - q.head }
func (q *queue) front() *page { return &q.pages[q.head] }

func (q *queue) push(p page) {
	if len(q.pages) == cap(q.pages) && q.head > len(q.pages)/2 {
		n := copy(q.pages, q.pages[q.head:])
		q.pages, q.head = q.pages[:n], 0
	}
	q.pages = append(q.pages, p)
}

func (q *queue) pop() page {
	p := q.pages[q.head]
	q.head++
	return p
}

func (q *queue) popNewest() page {
	p := q.pages[len(q.pages)-1]
	q.pages = q.pages[:len(q.pages)-1]
	return p
}

// guard owns the pages of one side: those handed out and those in quarantine.
type guard struct {
	out, back queue
}

// hand returns a writable page for n bytes.
func (g *guard) hand(n int) page {
	size := max(1, (n+pageSize-1)/pageSize) * pageSize
	var p page
	if g.back.len() >= quarantined && len(g.back.front().bytes) == size {
		p = g.back.pop()
		p.protect(writable)
	} else {
		p = newPage(size)
	}
	g.out.push(p)
	return p
}

// retire puts the n oldest pages that are out into quarantine.
func (g *guard) retire(n int) {
	for range n {
		if p := g.out.pop(); p.mapped {
			p.protect(untouchable)
			g.back.push(p)
		}
	}
	for g.back.len() > quarantined {
		g.back.pop().free()
	}
}

// retract puts the n newest pages that are out into quarantine.
func (g *guard) retract(n int) {
	for range n {
		if p := g.out.popNewest(); p.mapped {
			p.protect(untouchable)
			g.back.push(p)
		}
	}
	for g.back.len() > quarantined {
		g.back.pop().free()
	}
}

func (g *guard) close() {
	for _, q := range []*queue{&g.out, &g.back} {
		for q.len() > 0 {
			q.pop().free()
		}
	}
}
