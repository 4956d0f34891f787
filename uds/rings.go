package uds

import (
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/ring"
)

// ringFDs is how many descriptors an offer of rings brings, in this order: the
// ring from listener to dialer, the ring back.
const ringFDs = 2

// rings is the shared memory of one connection, as one side sees it.
type rings struct {
	out, in *ring.Memory
	bell    *ring.Doorbell // the peer's; this side's is heard by life
	again   again
	tx      *ring.Producer
	rx      *ring.Consumer
}

// createRings makes both rings, for the listener's side.
func createRings(o *Options, size int, huge bool) (r *rings, err error) {
	r = &rings{}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	opt := ring.Options{Size: size, HugePages: huge, Prefault: o.Prefault, Name: "uds"}
	if r.out, err = o.createRings(opt); err != nil {
		return r, err
	}
	if r.in, err = o.createRings(opt); err != nil {
		return r, err
	}
	return r, r.again.open()
}

// attachRings maps what an offer brought, for the dialer's side. It takes
// ownership of all of fds, which must be ringFDs.
func attachRings(o *Options, fds []int, size int) (r *rings, err error) {
	r = &rings{}
	next := func() int { fd := fds[0]; fds = fds[1:]; return fd }
	defer func() {
		if err != nil {
			for _, fd := range fds {
				unix.Close(fd)
			}
			err = errors.Join(err, r.close())
		}
	}()
	if r.in, err = o.attachRing(next()); err != nil {
		return r, err
	}
	if r.out, err = o.attachRing(next()); err != nil {
		return r, err
	}
	for _, m := range []*ring.Memory{r.in, r.out} {
		if m.Size() != size {
			return r, fmt.Errorf("uds: a ring of %d bytes where %d were offered", m.Size(), size)
		}
		if m.HugePages() && !o.HugePages {
			return r, errors.New("uds: the rings are of huge pages, which a hostile peer can turn into SIGBUS; set Options.HugePages on this side too if it is trusted")
		}
	}
	if err = r.again.open(); err == nil {
		r.closeFDs()
	}
	return r, err
}

// takeSides makes the two halves, which ring the peer over the socket fd.
func (r *rings) takeSides(fd int) (err error) {
	r.bell = ring.DoorbellOver(fd)
	own := ring.DoorbellOver(-1) // the socket wakes this side, at its end too
	if r.tx, err = ring.NewProducer(r.out, own, r.bell); err == nil {
		r.rx, err = ring.NewConsumer(r.in, own, r.bell)
	}
	return err
}

// closeFDs closes the descriptors of the memory, which both sides have mapped.
func (r *rings) closeFDs() {
	_ = r.out.CloseFD()
	_ = r.in.CloseFD()
}

// descriptors returns what an offer passes, in its order.
func (r *rings) descriptors() []int {
	return []int{r.out.FD(), r.in.FD()}
}

func (r *rings) close() error {
	err := r.bell.Close()
	for _, m := range []*ring.Memory{r.out, r.in} {
		if m != nil {
			err = errors.Join(err, m.Close())
		}
	}
	return errors.Join(err, r.again.close())
}

// budget bounds the memory of all rings of one listener.
type budget struct {
	limit int64
	used  atomic.Int64
}

func (b *budget) take(n int64) error {
	if now := b.used.Add(n); now > b.limit {
		b.used.Add(-n)
		return fmt.Errorf("uds: the rings of this listener would take %d bytes, more than its Options.MaxMemory of %d", now, b.limit)
	}
	return nil
}

func (b *budget) give(n int64) { b.used.Add(-n) }
