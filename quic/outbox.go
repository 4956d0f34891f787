package quic

import (
	"encoding/binary"
	"errors"
	"sync"

	quicgo "github.com/quic-go/quic-go"
)

// outbox is the outgoing half of a link's control stream. Nobody waits for it,
// and nothing that was said to it is lost: what the stream doesn't take at once,
// because the peer's window is used up by others, is sent by a goroutine that runs
// while there is any. Credits are added up meanwhile, so it takes no memory.
type outbox struct {
	stream sendStream

	mu       sync.Mutex
	answer   []byte // to the link's opening
	credit   int64
	farewell []byte
	received bool

	writing bool // a goroutine does
	left    int  // of the last words, farewell and received, which were said
	over    bool // the stream has ended
}

// lastWords is how many words end the stream.
const lastWords = 2

// sayAnswer answers the peer's opening of the link.
func (o *outbox) sayAnswer(b []byte) { o.say(func() { o.answer = b }) }

// giveCredit tells the peer that it may send so much more.
func (o *outbox) giveCredit(n int64) { o.say(func() { o.credit += n }) }

// sayFarewell tells the peer how many lanes were used. It is called once.
func (o *outbox) sayFarewell(lanes int) {
	o.say(func() { o.farewell = []byte{farewell, byte(lanes)} })
}

// sayReceived tells the peer that all has arrived. It is called once.
func (o *outbox) sayReceived() { o.say(func() { o.received = true }) }

// close has nothing more said.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.over = true
}

// say notes something and sends what was noted, or has it sent.
func (o *outbox) say(note func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	note()
	if o.writing || o.over {
		return
	}
	words := o.take()
	err := o.stream.TryWriteAll(words)
	if errors.Is(err, quicgo.ErrWouldBlock) {
		o.writing = true
		go o.write(words)
		return
	}
	o.wrote(err)
}

// take returns what is to be said, with mu held.
func (o *outbox) take() (words []byte) {
	words, o.answer = append(words, o.answer...), nil
	for o.credit > 0 {
		n := min(o.credit, maxReceive)
		words = binary.LittleEndian.AppendUint32(append(words, credited), uint32(n))
		o.credit -= n
	}
	if o.farewell != nil {
		words, o.farewell = append(words, o.farewell...), nil
		o.left++
	}
	if o.received {
		words, o.received = append(words, received), false
		o.left++
	}
	return words
}

// write says words, and what is to be said then.
func (o *outbox) write(words []byte) {
	for len(words) > 0 {
		_, err := o.stream.Write(words)
		o.mu.Lock()
		o.wrote(err)
		words = nil
		if !o.over {
			words = o.take()
		}
		o.writing = len(words) > 0
		o.mu.Unlock()
	}
}

// wrote ends the stream behind the last words, or if it is broken. mu is held.
func (o *outbox) wrote(err error) {
	switch {
	case err != nil:
		o.over = true
	case o.left == lastWords && !o.over:
		o.over = true
		_ = o.stream.Close()
	}
}
