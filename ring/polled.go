package ring

// polled remembers where the records that were polled and not released end,
// oldest first. Records of one span that follow each other share an entry, so
// a batch costs one. It lives in private memory: were spans read back from the
// ring at Release, the peer could have changed them.
type polled struct {
	q          [maxPolled]polledRun
	head, tail uint32 // entries popped, pushed
	open       int    // records
}

// polledRun is count records of span bytes, the oldest at position at.
type polledRun struct {
	at    uint64
	span  uint32
	count uint32
}

// maxPolled bounds how many records may be polled and not yet released.
const maxPolled = 1024

// room returns how many more records may be polled.
func (q *polled) room() int { return maxPolled - q.open }

// push adds n records, at most room, that begin at position at.
func (q *polled) push(at uint64, span, n uint32) {
	q.open += int(n)
	if q.tail != q.head {
		last := &q.q[(q.tail-1)%maxPolled]
		if last.span == span && last.at+uint64(last.count)*uint64(span) == at {
			last.count += n
			return
		}
	}
	q.q[q.tail%maxPolled] = polledRun{at, span, n}
	q.tail++
}

// pushOnly adds a record to an empty queue.
func (q *polled) pushOnly(at uint64, span uint32) {
	q.open = 1
	q.q[0] = polledRun{at, span, 1}
	q.head, q.tail = 0, 1
}

// clear takes all records off. The queue begins anew, so that it takes as
// little of the cache as there are records outstanding at a time.
func (q *polled) clear() { q.open, q.head, q.tail = 0, 0, 0 }

// pop takes off the oldest n records, at least one and fewer than open, and
// returns the position behind them.
func (q *polled) pop(n int) (end uint64) {
	q.open -= n
	for {
		r := &q.q[q.head%maxPolled]
		k := min(uint32(n), r.count)
		r.at += uint64(k) * uint64(r.span)
		r.count -= k
		if end = r.at; r.count == 0 {
			q.head++
		}
		if n -= int(k); n == 0 {
			return end
		}
	}
}
