package quic

import (
	"errors"
	"sync"

	quicgo "github.com/quic-go/quic-go"
)

// sendStream is what a lane needs of a stream: quic-go's, or TLS on TCP.
type sendStream interface {
	// TryWriteAll takes all of p or, with quicgo.ErrWouldBlock, nothing.
	TryWriteAll(p []byte) error
	// Write returns when all of p is on its way.
	Write(p []byte) (int, error)
	// Close ends the stream behind everything that was written.
	Close() error
	// Abandon ends it at once.
	Abandon()
}

const (
	// tryMost is the longest piece that the sender hands to the stream by
	// itself; what is longer goes to the lane's writer.
	tryMost = 8 << 10
	// triedMost bounds what may wait within the stream without anybody knowing
	// whether it has left: behind so many bytes the writer, who knows, has a
	// turn.
	triedMost = 64 << 10
	// backlogMost bounds the bytes of a lane that wait for the writer.
	backlogMost = 256 << 10
	// keptMost is how large the buffers are that a lane without a backlog keeps.
	keptMost = 8 << 10
)

// lane is one ordered part of a link's outgoing half. Small pieces go straight
// from the sender's goroutine into the stream's buffer, without blocking. What
// the stream doesn't take at once waits in the backlog for a goroutine that
// runs while there is any, and blocks in Write in the sender's place.
type lane struct {
	link *Link

	mu      sync.Mutex
	stream  sendStream // nil until it is needed
	failed  bool       // nothing more can be sent
	closing bool       // the stream ends behind the backlog
	writing bool       // the writer runs
	tried   int
	backlog []byte
	spare   []byte
	done    chan struct{} // closed when the stream has ended; nil before closing
}

// push takes frames, which it copies, or reports that there is no room. The
// sender's goroutine calls it.
func (n *lane) push(frames []byte) (ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.pushLocked(frames)
}

func (n *lane) pushLocked(frames []byte) (ok bool) {
	if n.failed || n.closing {
		return true // the link has ended, as its next call says
	}
	if !n.writing && len(frames) <= tryMost && n.tried+len(frames) <= triedMost {
		err := n.stream.TryWriteAll(frames)
		if err == nil {
			n.tried += len(frames)
			return true
		}
		if !errors.Is(err, quicgo.ErrWouldBlock) {
			n.failed = true // the reading side learns why
			return true
		}
	}
	if len(n.backlog) > 0 && len(n.backlog)+len(frames) > backlogMost {
		return false
	}
	// A lane gets its first few bytes in any case: links that take up all there
	// is for their peer must not hold up the others.
	if first := len(n.backlog) == 0 && len(frames) <= runMost; !n.link.backlog.take(n.link, len(frames), first) {
		return false
	}
	n.backlog = append(withRoom(n.backlog, len(frames)), frames...)
	if !n.writing {
		n.writing = true
		go n.write()
	}
	return true
}

// write sends the backlog until there is none.
func (n *lane) write() {
	n.mu.Lock()
	for len(n.backlog) > 0 && !n.failed {
		n.backlog, n.spare = n.spare[:0], n.backlog
		out := n.spare
		n.mu.Unlock()
		n.link.space.notify()
		_, err := n.stream.Write(out)
		n.link.backlog.give(len(out))
		n.mu.Lock()
		if err != nil {
			n.failed = true
		}
	}
	n.link.backlog.give(len(n.backlog)) // of a lane that has failed
	n.backlog, n.spare = emptied(n.backlog), emptied(n.spare)
	n.writing, n.tried = false, 0
	if n.closing {
		n.end()
	}
	n.mu.Unlock()
	n.link.space.notify()
}

// close ends the stream behind everything that was pushed. The channel is
// closed when that has been handed to the medium.
func (n *lane) close() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closing {
		n.closing, n.done = true, make(chan struct{})
		if !n.writing {
			n.end()
		}
	}
	return n.done
}

// end is called once, with mu held, when closing and with nothing left.
func (n *lane) end() {
	if n.stream != nil {
		if n.failed {
			n.stream.Abandon()
		} else {
			_ = n.stream.Close()
		}
	}
	close(n.done)
}

// abandon gives up what has not been sent.
func (n *lane) abandon() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.failed = true
	if n.stream != nil {
		n.stream.Abandon() // ends the writer's Write, too
	}
}
