package capsid

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Pool keeps cells of one Spec started and ready before they are asked for: it
// hides how long a start takes, and does not make starts cheaper. Its methods
// may be called from any goroutine.
type Pool struct {
	o      PoolOptions
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup
	ready  chan Process
	slots  chan struct{} // one for each cell that is starting or ready

	mu   sync.Mutex
	last error
}

// PoolOptions say what a pool keeps.
type PoolOptions struct {
	Backend Backend
	// Spec is the cell's. Each gets a number behind its name.
	Spec Spec
	// Size is how many are kept ready, at most MaxPool.
	Size int
	// Ready, if set, waits until a cell is ready to be used, such as by its
	// word to a broker. An error ends the cell.
	Ready func(ctx context.Context, p Process) error
	// Backoff is how long to wait after a start that failed, doubled each time
	// up to a hundredfold. Default: 50 ms.
	Backoff time.Duration
}

// MaxPool bounds the size of a pool.
const MaxPool = 1024

// ErrPoolClosed: the pool was closed.
var ErrPoolClosed = errors.New("capsid: pool closed")

// NewPool begins to fill a pool. Error: ErrSpec.
func NewPool(o PoolOptions) (*Pool, error) {
	if o.Backend == nil || o.Size < 1 || o.Size > MaxPool {
		return nil, fmt.Errorf("%w: a pool of %d cells: it needs a backend, and 1 to %d", ErrSpec, o.Size, MaxPool)
	}
	if _, err := o.Spec.Settle(); err != nil {
		return nil, err
	}
	orDefault(&o.Backoff, 50*time.Millisecond)
	p := &Pool{o: o, ready: make(chan Process, o.Size), slots: make(chan struct{}, o.Size)}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.work.Add(1)
	go p.fill()
	return p, nil
}

// fill starts one cell after the other as there is room.
func (p *Pool) fill() {
	defer p.work.Done()
	wait := p.o.Backoff
	for n := uint64(1); ; n++ {
		select {
		case p.slots <- struct{}{}:
		case <-p.ctx.Done():
			return
		}
		c, err := p.start(n)
		p.mu.Lock()
		p.last = err
		p.mu.Unlock()
		if err == nil {
			wait = p.o.Backoff
			p.ready <- c // there is room: it has a slot
			continue
		}
		<-p.slots
		select {
		case <-time.After(wait):
			wait = min(2*wait, 100*p.o.Backoff)
		case <-p.ctx.Done():
			return
		}
	}
}

func (p *Pool) start(n uint64) (Process, error) {
	s := p.o.Spec
	s.Name = fmt.Sprintf("%s-%d", s.Name[:min(len(s.Name), maxName-21)], n)
	c, err := p.o.Backend.Start(p.ctx, s)
	if err != nil || p.o.Ready == nil {
		return c, err
	}
	if err := p.o.Ready(p.ctx, c); err != nil {
		end(c, "it did not become ready")
		return nil, fmt.Errorf("capsid: %s did not become ready: %w", s.Name, err)
	}
	return c, nil
}

// Take returns a cell that is ready; it is the caller's from then on, and
// another is started in its place. It waits where none is, and says why none
// came. Errors: ctx's, ErrPoolClosed.
func (p *Pool) Take(ctx context.Context) (Process, error) {
	for {
		select {
		case c := <-p.ready:
			<-p.slots
			select {
			case <-c.Done(): // it ended while it waited
				end(c, "")
				continue
			default:
				return c, nil
			}
		case <-ctx.Done():
			p.mu.Lock()
			defer p.mu.Unlock()
			return nil, errors.Join(context.Cause(ctx), p.last)
		case <-p.ctx.Done():
			return nil, ErrPoolClosed
		}
	}
}

// Len is how many are ready.
func (p *Pool) Len() int { return len(p.ready) }

// Close ends those that are ready.
func (p *Pool) Close() {
	p.cancel()
	p.work.Wait()
	for {
		select {
		case c := <-p.ready:
			end(c, "its pool was closed")
		default:
			return
		}
	}
}

// end kills a cell that nobody else has and waits for it.
func end(c Process, why string) {
	c.Kill(Killed, why)
	<-c.Done()
	if s := c.Socket(); s != nil {
		s.Close()
	}
}
