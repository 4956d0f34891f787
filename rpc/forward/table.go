package forward

import (
	"math/bits"
	"math/rand/v2"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/wire"
)

// call is one call under way between a caller and a target.
type call struct {
	id          uint32 // correlation towards the target: index and generation
	correlation uint32 // the caller's
	fingerprint uint64
	caller      *caller // nil: nobody waits any more
	target      *Target // nil: the target's link is lost
	state       state
	topic       bool // lasts until somebody ends it
	held        bool // counted by Hold at the caller's port
	sent        bool // the request's first piece is on its way
	owesCancel  bool // to the target
	status      wire.Status
	message     string // with status, owed to the caller; status 0: nothing is
	owingSince  int64

	asked, answered uint32 // bytes of the pieces of request and answer so far
	incomplete      bool   // pieces of the request are missing
	announced       bool   // the request itself is to follow
	due             int64  // of the caller's deadline

	bucket *call // next in the same bucket
	knots  [laneKinds]knot
	timer  engine.Timer
}

// state is where a call is in its life.
type state uint8

const (
	stateFree state = iota
	stateLive
	stateLoose // ended without an answer, which may still come
	stateOwing // ended; a status or a cancel could not be sent yet
)

// table has all calls of a forwarder. A call is found by its own correlation
// when something comes from its target, and by its caller and that one's
// correlation when something comes from there.
//
// Its own correlation is an index and a generation, so a late answer finds
// nobody, until the generation comes round: with 4,096 places after a million
// uses of one. A place whose call ended without an answer stays out of use
// until that has come or no other place is left.
type table struct {
	calls   []call
	shift   uint // of the generation
	mask    uint32
	free    *call // by bucket
	loose   lane
	live    int // in stateLive
	buckets []*call
	seed    uint64
	odd     uint64
	width   uint // 64 − log2 of buckets
}

func (t *table) init(f *Forwarder) {
	n := f.opts.MaxCalls
	t.calls = make([]call, n)
	t.shift = uint(bits.Len(uint(n - 1)))
	t.mask = 1<<t.shift - 1
	size := 1 << (t.shift + 1)
	t.buckets = make([]*call, size)
	t.width = 64 - uint(bits.Len(uint(size-1)))
	// Callers choose their correlations, so which bucket one falls into must
	// not be theirs to know.
	t.seed, t.odd = rand.Uint64(), rand.Uint64()|1
	t.loose.init(laneLoose)
	generation := rand.Uint32() // of a forwarder that restarts, another
	for i := n - 1; i >= 0; i-- {
		c := &t.calls[i]
		c.id = generation<<t.shift | uint32(i)
		c.timer.Func = func(*engine.Timer) { f.expire(c) }
		c.bucket = t.free
		t.free = c
	}
}

// take returns an unused place with its next correlation, or nil. evicted: it
// was that of a call whose answer never came.
func (t *table) take() (c *call, evicted bool) {
	if c = t.free; c == nil {
		if c = t.loose.first; c == nil {
			return nil, false
		}
		t.drop(c)
		evicted = true
	}
	t.free = c.bucket
	generation := (c.id>>t.shift + 1) << t.shift
	if generation == 0 {
		generation = 1 << t.shift // no correlation is 0
	}
	c.id = generation | c.id&t.mask
	c.bucket = nil
	return c, evicted
}

// drop makes a call's place free.
func (t *table) drop(c *call) {
	t.unindex(c)
	for which := range laneKinds {
		c.leave(which)
	}
	c.state, c.caller, c.target = stateFree, nil, nil
	c.sent, c.owesCancel, c.status, c.message = false, false, 0, ""
	c.asked, c.answered, c.incomplete, c.announced = 0, 0, false, false
	c.bucket = t.free
	t.free = c
}

// byID returns the call that has this correlation towards target, or nil.
func (t *table) byID(id uint32, target *Target) *call {
	i := id & t.mask
	if int(i) >= len(t.calls) {
		return nil
	}
	c := &t.calls[i]
	if c.id != id || c.state == stateFree || c.target != target {
		return nil
	}
	return c
}

func (t *table) hash(k *caller, correlation uint32) uint64 {
	return ((k.number<<32 | uint64(correlation)) ^ t.seed) * t.odd >> t.width
}

// find returns the call of a caller under its correlation, or nil.
func (t *table) find(k *caller, correlation uint32) *call {
	c := t.buckets[t.hash(k, correlation)]
	for c != nil && (c.caller != k || c.correlation != correlation) {
		c = c.bucket
	}
	return c
}

func (t *table) index(c *call) {
	b := &t.buckets[t.hash(c.caller, c.correlation)]
	c.bucket = *b
	*b = c
}

// unindex makes a call unfindable for its caller, if it has one still.
func (t *table) unindex(c *call) {
	if c.caller == nil {
		return
	}
	b := &t.buckets[t.hash(c.caller, c.correlation)]
	for *b != c {
		b = &(*b).bucket
	}
	*b, c.bucket = c.bucket, nil
}

// each calls fn with every call that isn't free.
func (t *table) each(fn func(*call)) {
	for i := range t.calls {
		if c := &t.calls[i]; c.state != stateFree {
			fn(c)
		}
	}
}
