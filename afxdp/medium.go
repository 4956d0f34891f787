package afxdp

import "time"

// medium moves datagrams between this end and one peer. It may lose, repeat
// and reorder them. All methods are called under the connection's lock, and
// none blocks.
type medium interface {
	// grab returns a frame to write a datagram into, or nil: none is free.
	grab() *outFrame
	// put gives a frame back. The medium may still be reading it (busy).
	put(f *outFrame)
	// putAll gives back what send took, from behind, so that frames that lie behind
	// each other are grabbed in that order again: they can go as one piece then.
	putAll(fs []*outFrame)
	// send hands over datagrams, of which f.buf[:f.n] is sent, in order, and
	// returns how many it took; fewer, with a nil error, if there is no room
	// for more now. A frame that is busy is not given to it.
	send(fs []*outFrame) (n int, err error)
	// reclaim looks which frames are no longer busy.
	reclaim()
	// control sends one small datagram, at once or never; b is copied.
	control(b []byte) error
	// receive fills in datagrams that have arrived and returns how many.
	receive(fs []inFrame) (n int, err error)
	// recycle gives the memory of a received datagram back.
	recycle(f inFrame)
	// starved says that receive has no memory to receive into.
	starved() bool
	// fds become readable when there are datagrams; the first becomes writable
	// when send may take more.
	fds() []int
	// rouse makes the next receive look everywhere, however rarely it looks at
	// some place: somebody will sleep after it, or was woken.
	rouse()
	// tend is called now and then; silent says that the peer has not been heard
	// for long.
	tend(silent bool)
	close() error
}

// outFrame is memory for one datagram on its way out.
type outFrame struct {
	buf []byte // as long as the longest datagram
	n   int    // bytes of the datagram
	id  uint64 // the medium's own

	busy bool // the medium still reads it

	// While it is being filled: behind the last vesicle that is committed,
	// behind the last one that is claimed, and how many are claimed still.
	done, claimed, open int

	// While it is kept for repetition.
	order uint64 // of its last transmission, among all
	times int    // it was sent
	at    time.Duration
	acked bool
	lost  bool
}

// reset makes a frame empty, but for what is the medium's own.
func (f *outFrame) reset() {
	*f = outFrame{buf: f.buf, id: f.id, done: headSize, claimed: headSize}
}

// inFrame is one datagram that arrived.
type inFrame struct {
	buf []byte // the datagram; read only
	id  uint64 // the medium's own
	at  int64  // when it arrived, as Conn.Arrived says; 0: not known
}
