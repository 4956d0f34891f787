package engine

import (
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
)

// fed is how links that goroutines of this process feed (link.Fed) wake an
// engine. Where it is not pinned to a core it sleeps on a channel while it has
// such links: then the goroutine that brought something and the engine's own
// follow each other on one thread, without the kernel. Whatever has a descriptor
// rings it through a goroutine that waits in the Go runtime's poller.
type fed struct {
	count int // ports of such links; the thread's

	mu     sync.Mutex
	roused []*Port // that have called, each once
	spare  []*Port

	kicked   chan struct{} // holds one value: look again
	watch    chan struct{} // asks the watcher to look at the descriptors
	watching bool          // it does
	fired    atomic.Bool   // it has seen one, and looks no more
}

// How an engine sleeps, in Engine.parked.
const (
	awake uint32 = iota
	inKernel
	onChannel
)

// feed has a port's link call the engine instead of ringing a descriptor, if it
// can. A pinned engine's thread can't be had without the kernel, so there it
// stays with descriptors.
func (e *Engine) feed(p *Port) {
	f, ok := p.link.(link.Fed)
	if !ok || e.cfg.CPU != Unpinned {
		return
	}
	if e.fed.kicked == nil {
		e.fed.kicked = make(chan struct{}, 1)
	}
	p.fed = f
	e.fed.count++
	f.OnWake(func() { e.rouse(p) })
}

// unfeed gives a link back as it was found.
func (e *Engine) unfeed(p *Port) {
	if p.fed != nil {
		p.fed.OnWake(nil)
		p.fed = nil
		e.fed.count--
	}
}

// rouse is called by the goroutines that feed a link.
func (e *Engine) rouse(p *Port) {
	f := &e.fed
	f.mu.Lock()
	if p.roused {
		f.mu.Unlock()
		return
	}
	p.roused = true
	f.roused = append(f.roused, p)
	f.mu.Unlock()
	e.signal(signalFed)
}

// answerRoused looks after the ports that were roused.
func (e *Engine) answerRoused() {
	f := &e.fed
	f.mu.Lock()
	ports := f.roused
	f.roused, f.spare = f.spare[:0], ports
	for _, p := range ports {
		p.roused = false
	}
	f.mu.Unlock()
	for i, p := range ports {
		ports[i] = nil
		if p.id != 0 && e.ports[p.id] == p && !p.gone {
			e.wokenBy(p)
		}
	}
}

// kick wakes the engine from its channel.
func (f *fed) kick() {
	select {
	case f.kicked <- struct{}{}:
	default:
	}
}

// onlyFed reports whether all links are fed by goroutines. Then spinning helps
// nobody: what it waits for needs the processor.
func (e *Engine) onlyFed() bool { return e.fed.count != 0 && e.fed.count == len(e.ports) }

// doze is waiter.sleep on a channel. The goroutine lets go of its thread
// meanwhile, since to wake one that is bound to a thread is to wake that thread.
func (e *Engine) doze(at, now int64) {
	f, w := &e.fed, &e.wait
	w.setTimer(at, now)
	if !f.watching {
		f.watching = true
		if f.watch == nil {
			f.watch = make(chan struct{}, 1)
			go f.look(w.raw, f.watch)
		}
		f.watch <- struct{}{}
	}
	e.tid.Store(0)
	runtime.UnlockOSThread()
	<-f.kicked
	runtime.LockOSThread()
	e.tid.Store(int32(unix.Gettid()))
	if f.fired.Load() {
		f.fired.Store(false)
		f.watching = false
		w.poll(0)
	}
}

// look waits for a descriptor of the epoll set each time that it is asked to.
func (f *fed) look(raw syscall.RawConn, asked <-chan struct{}) {
	var set [1]unix.PollFd
	ready := func(fd uintptr) bool {
		set[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
		n, err := unix.Poll(set[:], 0)
		return n > 0 && err == nil
	}
	for range asked {
		if raw.Read(ready) != nil {
			time.Sleep(time.Millisecond) // the poller refuses, or the engine has ended
		}
		f.fired.Store(true)
		f.kick()
	}
}

// leave ends the watcher.
func (f *fed) leave() {
	if f.watch != nil {
		close(f.watch)
	}
}
