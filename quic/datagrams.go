package quic

import (
	"encoding/binary"
	"sync/atomic"

	quicgo "github.com/quic-go/quic-go"
)

const (
	// datagramMost is the most payload bytes of an event that goes as a
	// datagram. QUIC packets have at least 1,200 bytes; what the path carries
	// beyond is not used, so that an event doesn't depend on it.
	datagramMost = 1100
	// datagramQueue bounds the events that wait to be sent.
	datagramQueue = 64
)

// datagrams sends a link's events that may be lost. quic-go's SendDatagram
// waits when its queue is full, so a goroutine does that; when it can't follow,
// events are lost here, and counted.
type datagrams struct {
	queue   chan []byte
	number  uint64
	dropped uint64 // the sender's
	stopped atomic.Bool
}

func newDatagrams(c *quicgo.Conn, number uint64) *datagrams {
	d := &datagrams{queue: make(chan []byte, datagramQueue), number: number}
	go func() {
		for {
			select {
			case b := <-d.queue:
				// A datagram that the path doesn't carry is lost, as any may be.
				_ = c.SendDatagram(b)
			case <-c.Context().Done():
				return
			}
			if d.stopped.Load() && len(d.queue) == 0 {
				return
			}
		}
	}()
	return d
}

// push sends each of the frames. The link's sender calls it.
func (d *datagrams) push(frames []byte) {
	for len(frames) > 0 {
		size := frameSize + int(binary.LittleEndian.Uint32(frames))
		b := binary.LittleEndian.AppendUint64(make([]byte, 0, datagramHead+size), d.number)
		select {
		case d.queue <- append(b, frames[:size]...):
		default:
			d.dropped++
		}
		frames = frames[size:]
	}
}

// stop ends the goroutine when the queue is empty.
func (d *datagrams) stop() {
	d.stopped.Store(true)
	select {
	case d.queue <- nil: // an empty datagram, which nobody's number is
	default:
	}
}
