package afxdp

// Memory to receive into. A message may be many datagrams that the kernel has
// put together (UDP_GRO, Linux 5.0), so each needs room for all that UDP can
// carry, of which most is never touched.
const (
	landingSize = 1 << 16
	landings    = 2 * receiveBatch
	// landingReserve is how many stay free to receive into: of the others
	// datagrams are handed out where they lie, beyond that they are copied.
	landingReserve = receiveBatch
	// copyBelow: a datagram of fewer bytes isn't worth a landing.
	copyBelow = 512
	// coalescedBatch is how many messages are fetched at once when they are
	// many datagrams each: more would be out of the cache before their turn.
	coalescedBatch = 4
)

// udpReceiver is the way in: landings, into which the kernel writes, and places,
// each for one datagram, into which is copied what should not keep a landing.
// There is a place for every datagram that a connection may hold, so that it
// never gets stuck for want of landings.
type udpReceiver struct {
	places [][]byte
	spare  []int // of them, by index

	landing  [landings][]byte
	parts    [landings]int     // datagrams of it that are handed out, and one for what is not
	lands    []int             // free, by index
	prepared [receiveBatch]int // the landing of each message of the batch, or -1
	ready    int               // of them

	batch     mmsgBatch
	arrived   [receiveBatch]arrival // received and not handed out
	first, n  int                   // of them
	coalesced bool                  // the last ones were many datagrams
}

// arrival is a message, of which the datagrams from from on are to be handed out.
type arrival struct{ landing, from, end, segment int }

// What inFrame.id says of where the memory belongs.
const (
	inPlace   = 0
	inLanding = 1 << 32
	inNothing = 2 << 32
)

func (r *udpReceiver) open(places, size int) {
	slab := make([]byte, places*size)
	for i := range places {
		r.places = append(r.places, slab[i*size:(i+1)*size:(i+1)*size])
		r.spare = append(r.spare, i)
	}
	slab = make([]byte, landings*landingSize)
	for i := range landings {
		r.landing[i] = slab[i*landingSize : (i+1)*landingSize : (i+1)*landingSize]
		r.lands = append(r.lands, i)
	}
	for i := range r.prepared {
		r.prepared[i] = -1
	}
}

// prepare gives the first most messages of the batch memory, as far as there is
// some, and returns how many have it.
func (r *udpReceiver) prepare(most int) int {
	for i := range most {
		if r.prepared[i] >= 0 {
			continue
		}
		last := len(r.lands) - 1
		if last < 0 {
			return i
		}
		at := r.lands[last]
		r.lands = r.lands[:last]
		r.prepared[i] = at
		r.ready++
		r.batch.memory(i, r.landing[at], landingSize)
		r.batch.incoming(i)
	}
	return most
}

// took notes that the first n messages have come.
func (r *udpReceiver) took(n int) {
	r.coalesced = false
	for i := range n {
		length, segment := r.batch.received(i)
		at := r.prepared[i]
		r.arrived[i] = arrival{at, 0, length, segment}
		r.parts[at] = 1
		r.prepared[i] = -1
		r.coalesced = r.coalesced || segment < length
	}
	r.ready -= n
	r.first, r.n = 0, n
}

// next hands out one datagram; ok is false if there is no memory for it.
func (r *udpReceiver) next() (f inFrame, ok bool) {
	a := &r.arrived[r.first]
	b := r.landing[a.landing][a.from:min(a.from+a.segment, a.end)]
	switch {
	case len(b) > len(r.places[0]):
		f = inFrame{id: inNothing} // longer than was agreed upon: as good as none
	case len(b) >= copyBelow && len(r.lands)+r.ready >= landingReserve:
		f = inFrame{buf: b[:len(b):len(b)], id: inLanding | uint64(a.landing)}
		r.parts[a.landing]++
	default:
		last := len(r.spare) - 1
		if last < 0 {
			return f, false
		}
		at := r.spare[last]
		r.spare = r.spare[:last]
		f = inFrame{buf: r.places[at][:copy(r.places[at], b)], id: inPlace | uint64(at)}
	}
	if a.from += len(b); a.from >= a.end {
		r.leave(a.landing)
		r.first++
	}
	return f, true
}

// leave frees a landing of which nothing is in use any more.
func (r *udpReceiver) leave(at int) {
	if r.parts[at]--; r.parts[at] == 0 {
		r.lands = append(r.lands, at)
	}
}

func (m *udpMedium) receive(fs []inFrame) (n int, err error) {
	r := &m.in
	if r.first == r.n && len(fs) > 0 {
		if err := m.fetch(); err != nil {
			return 0, err
		}
	}
	for n < len(fs) && r.first < r.n {
		f, ok := r.next()
		if !ok {
			break
		}
		fs[n] = f
		n++
	}
	return n, nil
}

// fetch receives messages, if there are any.
func (m *udpMedium) fetch() error {
	r := &m.in
	most := receiveBatch
	if r.coalesced {
		most = coalescedBatch
	}
	for most = r.prepare(most); most > 0; {
		n, errno := r.batch.receive(m.sock, most)
		if n > 0 {
			r.took(n)
			return nil
		}
		if errno == 0 {
			return nil
		}
		if again, err := m.failed(errno); !again {
			return err
		}
	}
	return nil
}

func (m *udpMedium) recycle(f inFrame) {
	at := int(f.id & (inLanding - 1))
	switch f.id &^ (inLanding - 1) {
	case inPlace:
		m.in.spare = append(m.in.spare, at)
	case inLanding:
		m.in.leave(at)
	}
}

func (m *udpMedium) starved() bool { return len(m.in.spare) == 0 }
