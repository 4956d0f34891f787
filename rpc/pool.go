package rpc

import "sync"

// pool runs calls of blocking handlers on at most a fixed number of
// goroutines, which come when there is work and go when there is none.
type pool struct {
	queue chan *Exchange
	mu    sync.Mutex
	alive int
	most  int
}

func newPool(workers, queue int) *pool {
	return &pool{queue: make(chan *Exchange, queue), most: workers}
}

// submit queues a call and reports whether there was room.
func (p *pool) submit(x *Exchange) bool {
	select {
	case p.queue <- x:
	default:
		return false
	}
	p.mu.Lock()
	if p.alive < p.most {
		// One more than needed is harmless, one less is not: a worker that
		// has found the queue empty is leaving, and counts no more.
		p.alive++
		go p.work()
	}
	p.mu.Unlock()
	return true
}

func (p *pool) work() {
	for {
		select {
		case x := <-p.queue:
			x.run()
			continue
		default:
		}
		p.mu.Lock()
		if len(p.queue) == 0 {
			p.alive--
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
	}
}

// load returns how many goroutines there are and how many calls wait.
func (p *pool) load() (alive, queued int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.alive, len(p.queue)
}
