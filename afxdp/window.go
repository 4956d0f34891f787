package afxdp

import "time"

// window is what reliable mode knows about what it has sent. Times are since
// the connection was made.
type window struct {
	limit uint64 // the peer has no place from here on
	lost  int    // frames that are to be sent again

	// The congestion bound in datagrams: doubled for each round trip up to
	// threshold, then one more for each, halved when one loses something (RFC
	// 5681, counted in datagrams).
	congestion, threshold uint64
	gained                uint64
	recover               uint64 // no second halving for what was sent before

	transmissions uint64
	rtt, spread   time.Duration // smoothed (RFC 6298)
	backoff       uint
	deadline      time.Duration // 0 while nothing is waited for
}

const (
	firstRTO = 100 * time.Millisecond
	minRTO   = 10 * time.Millisecond
	maxRTO   = time.Second

	firstCongestion = 32
	minCongestion   = 4

	// reordered is how many datagrams that were sent later must have arrived
	// for one to count as lost (RFC 5681, section 3.2).
	reordered = 3
)

func newWindow(size uint64) window {
	// The peer says how much room it has; both have as much at first.
	return window{limit: size, congestion: firstCongestion, threshold: ^uint64(0)}
}

func (w *window) bound() uint64 { return w.congestion }

func (w *window) rto() time.Duration {
	t := firstRTO
	if w.rtt > 0 {
		t = w.rtt + max(4*w.spread, minRTO)
	}
	return min(t<<w.backoff, maxRTO)
}

// sent notes a transmission.
func (w *window) sent(f *outFrame, now time.Duration) {
	w.transmissions++
	f.order = w.transmissions
	f.times++
	f.at = now
	if w.deadline == 0 {
		w.deadline = now + w.rto()
	}
}

func (w *window) measure(sample time.Duration) {
	if w.rtt == 0 {
		w.rtt, w.spread = sample, sample/2
		return
	}
	w.spread += (max(sample-w.rtt, w.rtt-sample) - w.spread) / 4
	w.rtt += (sample - w.rtt) / 8
}

// arrived lets the bound grow for n datagrams.
func (w *window) arrived(n, most uint64) {
	if w.congestion < w.threshold {
		w.congestion = min(w.congestion+n, most)
		return
	}
	if w.gained += n; w.gained >= w.congestion {
		w.gained = 0
		w.congestion = min(w.congestion+1, most)
	}
}

// congested halves the bound, once for each window.
func (w *window) congested(base, sent uint64) {
	if base < w.recover {
		return
	}
	w.recover = sent
	w.threshold = max(w.congestion/2, minCongestion)
	w.congestion, w.gained = w.threshold, 0
}

// acknowledged handles what a datagram of the peer says about ours.
func (c *Conn) acknowledged(h *head) {
	o, w := &c.out, &c.out.again
	next := unwrap(o.base, h.next)
	limit := unwrap(next, h.limit)
	if next > o.sent || limit < next || limit-next > maxWindow {
		c.stats.Stray++
		return
	}
	w.limit = max(w.limit, limit)
	if next < o.base {
		return // overtaken by a later one
	}
	now, newest := c.now(), uint64(0)
	sample := time.Duration(0)
	fresh := uint64(0)
	for s := o.base; s < o.sent; s++ {
		here := s < next || s > next && s-next-1 < 64 && h.here>>(s-next-1)&1 != 0
		f := o.slots[s%c.window]
		if !here || f.acked {
			continue
		}
		fresh++
		f.acked = true
		if f.lost {
			f.lost = false
			w.lost--
		}
		if f.order > newest {
			newest, sample = f.order, now-f.at
			if f.times > 1 {
				sample = 0 // nobody knows which of them arrived (Karn)
			}
		}
	}
	if sample > 0 {
		w.measure(sample)
	}
	for ; o.base < next; o.base++ {
		f := o.slots[o.base%c.window]
		o.slots[o.base%c.window] = nil
		c.medium.put(f)
	}
	if fresh == 0 {
		return
	}
	c.infer(newest)
	w.arrived(fresh, c.window)
	w.backoff = 0
	w.deadline = 0
	if o.base < o.sent {
		w.deadline = now + w.rto()
	}
}

// infer takes for lost what was sent well before something that has arrived.
func (c *Conn) infer(newest uint64) {
	o, w := &c.out, &c.out.again
	found := false
	for s := o.base; s < o.sent; s++ {
		f := o.slots[s%c.window]
		if !f.acked && !f.lost && f.order+reordered <= newest {
			f.lost = true
			w.lost++
			found = true
		}
	}
	if found {
		w.congested(o.base, o.sent)
	}
}

// overdue sends the oldest datagram again if nothing was acknowledged in time,
// or asks after the peer's room if it had none.
func (c *Conn) overdue(now time.Duration) {
	o, w := &c.out, &c.out.again
	if w.deadline == 0 && o.sent < o.next {
		w.deadline = now + w.rto()
	}
	if w.deadline == 0 || now < w.deadline {
		return
	}
	w.deadline = 0
	if o.base == o.next {
		return
	}
	w.backoff = min(w.backoff+1, 8)
	w.deadline = now + w.rto()
	if o.base == o.sent {
		c.say(typeAsk)
		return
	}
	for s := o.base; s < o.sent; s++ {
		if f := o.slots[s%c.window]; !f.acked {
			if !f.lost {
				f.lost = true
				w.lost++
				c.stats.Timeouts++
				w.congested(o.base, o.sent)
			}
			return
		}
	}
}
