package node

import (
	"bytes"
	"sync"
	"time"
)

// Bounds of what is kept of a cell's output.
const (
	journalLines = 2000
	journalLine  = 8 << 10 // bytes of one line
	journalQueue = 256     // lines that wait for a reader
)

// line is a line of a cell's output, or what the node has to say about it.
type line struct {
	at     time.Time
	source string // pid of the process, or "node"
	text   string
	lost   uint64
}

// journal keeps the last lines of a cell and hands new ones to followers. Its
// methods may be called from any goroutine.
type journal struct {
	mu        sync.Mutex
	lines     []line // a ring
	next      int
	followers map[*follower]struct{}
}

// follower is a reader of a journal. A slow one loses lines, with a count.
type follower struct {
	ch   chan line
	lost uint64
}

func (j *journal) add(source, text string) {
	if len(text) > journalLine {
		text = text[:journalLine] + "…"
	}
	l := line{at: time.Now(), source: source, text: text}
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.lines) < journalLines {
		j.lines = append(j.lines, l)
	} else {
		j.lines[j.next] = l
		j.next = (j.next + 1) % journalLines
	}
	for f := range j.followers {
		l.lost = f.lost
		select {
		case f.ch <- l:
			f.lost = 0
		default:
			f.lost++
		}
	}
}

// last returns the last n lines, oldest first, and, if follow is set, a
// follower of all later ones; stop it.
func (j *journal) last(n int, follow bool) (past []line, f *follower) {
	j.mu.Lock()
	defer j.mu.Unlock()
	past = append(append(past, j.lines[j.next:]...), j.lines[:j.next]...)
	past = past[max(0, len(past)-max(n, 0)):]
	if follow {
		f = &follower{ch: make(chan line, journalQueue)}
		if j.followers == nil {
			j.followers = map[*follower]struct{}{}
		}
		j.followers[f] = struct{}{}
	}
	return past, f
}

func (j *journal) stop(f *follower) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.followers, f)
}

// output makes lines of what one process writes.
type output struct {
	journal *journal
	source  string
	mu      sync.Mutex
	rest    []byte // a line without its end
}

// Write implements io.Writer. It never fails and never waits.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rest = append(o.rest, p...)
	for {
		i, skip := bytes.IndexByte(o.rest, '\n'), 1
		if i < 0 && len(o.rest) <= journalLine {
			return len(p), nil
		}
		if i < 0 {
			i, skip = journalLine, 0
		}
		o.journal.add(o.source, string(o.rest[:i]))
		o.rest = append(o.rest[:0], o.rest[i+skip:]...)
	}
}

// end adds what has no end of line.
func (o *output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.rest) > 0 {
		o.journal.add(o.source, string(o.rest))
		o.rest = nil
	}
}
