package ring

// runs remembers the spans of outstanding claims, oldest first. Claims of the
// same span share an entry, so a batch costs one. It lives in private memory:
// were the span read back from the ring, the peer could change it.
type runs struct {
	q          [runCount]run
	head, tail uint32 // entries popped, pushed
}

type run struct {
	span    uint32
	count   uint32
	padding bool
}

// runCount bounds how many differently sized claims may be outstanding.
const runCount = 64

// full reports whether fewer than n entries are free.
func (r *runs) full(n uint32) bool { return r.tail-r.head > runCount-n }

// push appends n claims; false means that the queue is full.
func (r *runs) push(span, n uint32, padding bool) bool {
	if r.tail != r.head {
		if last := &r.q[(r.tail-1)%runCount]; last.span == span && last.padding == padding {
			last.count += n
			return true
		}
	}
	if r.full(1) {
		return false
	}
	r.q[r.tail%runCount] = run{span, n, padding}
	r.tail++
	return true
}

// front returns the oldest claims, or nil.
func (r *runs) front() *run {
	if r.tail == r.head {
		return nil
	}
	return &r.q[r.head%runCount]
}

// pop takes n claims off f, the front.
func (r *runs) pop(f *run, n uint32) {
	if f.count -= n; f.count == 0 {
		r.head++
	}
}

func (r *runs) clear() { r.head = r.tail }
