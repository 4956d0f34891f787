package rpc

import "sync"

// pool runs calls of blocking handlers on at most a fixed number of
// goroutines, which come when there is work and go when there is none.
type pool struct {
	queue chan *Exchange // has room for all that are held
	mu    sync.Mutex     // guards what follows
	alive int            // goroutines
	held  int            // calls that run or wait
	most  int            // goroutines
	limit int            // calls that run or wait
}

func newPool(workers, queue int) *pool {
	return &pool{queue: make(chan *Exchange, workers+queue), most: workers, limit: workers + queue}
}

// submit takes a call, to be run now or when a goroutine is free, and reports
// whether there was room.
func (p *pool) submit(x *Exchange) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held == p.limit {
		return false
	}
	p.held++
	p.queue <- x
	if p.alive < p.most {
		// One more than needed is harmless, one less is not: a worker that
		// has found the queue empty is leaving, and counts no more.
		p.alive++
		go p.work()
	}
	return true
}

func (p *pool) work() {
	for {
		select {
		case x := <-p.queue:
			x.run()
			p.mu.Lock()
			p.held--
			p.mu.Unlock()
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

// load returns how many calls run and how many wait.
func (p *pool) load() (running, queued int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	queued = len(p.queue)
	return p.held - queued, queued
}
