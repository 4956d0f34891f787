package sim

// event is something that happens at a time: a datagram arrives, or a timer ends.
type event struct {
	at     int64
	serial uint64
	to     *Node // nil: everybody
	from   *Node
	data   []byte // nil: a timer
}

func (e *event) before(other *event) bool {
	return e.at < other.at || e.at == other.at && e.serial < other.serial
}

// queue holds events, the next one first: a binary heap. container/heap would
// allocate for each.
type queue []event

func (q *queue) push(e event) {
	all := append(*q, e)
	*q = all
	i := len(all) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !e.before(&all[parent]) {
			break
		}
		all[i] = all[parent]
		i = parent
	}
	all[i] = e
}

func (q *queue) pop() event {
	all := *q
	first, last := all[0], all[len(all)-1]
	all[len(all)-1] = event{}
	all = all[:len(all)-1]
	*q = all
	if len(all) == 0 {
		return first
	}
	i := 0
	for {
		child := 2*i + 1
		if child >= len(all) {
			break
		}
		if child+1 < len(all) && all[child+1].before(&all[child]) {
			child++
		}
		if !all[child].before(&last) {
			break
		}
		all[i] = all[child]
		i = child
	}
	all[i] = last
	return first
}
