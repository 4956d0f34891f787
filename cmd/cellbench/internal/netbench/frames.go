package netbench

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/cell-runtime/cell/afxdp/netlab"
	"github.com/cell-runtime/cell/afxdp/packet"
	"github.com/cell-runtime/cell/afxdp/xsk"
	"github.com/cell-runtime/cell/cmd/cellbench/internal/report"
	"github.com/cell-runtime/cell/ebpf"
	"github.com/cell-runtime/cell/sched"
)

// frames is what AF_XDP can do without a link: bare sockets, of which the far
// one counts frames; or, for round trips, an XDP program at the far end that
// sends each frame back where it came from.
type frames struct {
	a, b     *xsk.QueueSet
	near_    *ebpf.Redirect
	far_     *ebpf.Redirect
	bouncer  *netlab.Bouncer
	length   int
	template []byte
	free     []uint64
	descs    []xsk.Desc
	back     []uint64

	freeB []uint64 // of the far end, for echo
	backB [32]uint64
}

const (
	frameSize  = 2048
	frameCount = 1024
	ringSize   = 512
)

func openFrames(l *netlab.Lab, bounce bool, s *Spec) (_ contestant, err error) {
	f := &frames{descs: make([]xsk.Desc, 32), back: make([]uint64, 32)}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	// A bounced frame comes back with the port that it was sent to.
	port := uint16(portB)
	if f.a, f.near_, err = openHost(l.A, port, s.Mode); err != nil {
		return nil, err
	}
	if bounce {
		err = l.B.Do(func() (err error) {
			f.bouncer, err = netlab.Bounce(l.B.Index, s.Mode != ebpf.ModeDriver)
			return err
		})
	} else {
		f.b, f.far_, err = openHost(l.B, port, s.Mode)
	}
	if err != nil {
		return nil, err
	}
	t, err := packet.NewTemplate(&packet.Flow{
		Local: netip.AddrPortFrom(l.A.V4, portA), Remote: netip.AddrPortFrom(l.B.V4, portB),
		LocalMAC: l.A.MAC, RemoteMAC: l.B.MAC})
	if err != nil {
		return nil, err
	}
	f.length = t.Size() + datagramOf(s)
	f.template = make([]byte, f.length)
	t.Put(f.template, true)
	for i := frameCount / 2; i < frameCount; i++ {
		d := xsk.Desc{Address: uint64(i) * frameSize, Length: uint32(f.length)}
		copy(f.a.Umem.Packet(d), f.template)
		f.free = append(f.free, d.Address)
	}
	return f, nil
}

// openHost opens a socket on a host's queue 0, half of whose frames are there to
// receive into, and has the host's packets for a port redirected to it.
func openHost(h *netlab.Host, port uint16, mode ebpf.Mode) (q *xsk.QueueSet, r *ebpf.Redirect, err error) {
	if mode == ebpf.ModeAuto {
		mode = ebpf.ModeGeneric
	}
	err = h.Do(func() (err error) {
		q, err = xsk.OpenQueues(xsk.UmemOptions{Frames: frameCount, FrameSize: frameSize},
			xsk.Config{Interface: h.Index, Rx: ringSize, Tx: ringSize, Fill: ringSize, Completion: ringSize, Copying: xsk.CopyAlways, NeedWakeup: true}, []uint32{0})
		if err != nil {
			return err
		}
		if r, err = ebpf.LoadRedirect(port); err != nil {
			return err
		}
		if err := r.SetSocket(0, q.Sockets[0].FD()); err != nil {
			return err
		}
		return r.Attach(h.Index, mode)
	})
	if err != nil {
		return q, r, err
	}
	for i := range uint64(frameCount / 2) {
		q.Sockets[0].Fill.Put([]uint64{i * frameSize})
	}
	return q, r, nil
}

func (f *frames) about() (string, []string) { return "bare AF_XDP sockets, both sides spinning", nil }

func (f *frames) close() error {
	var errs []error
	for _, r := range []*ebpf.Redirect{f.near_, f.far_} {
		if r != nil {
			errs = append(errs, r.Close())
		}
	}
	if f.bouncer != nil {
		errs = append(errs, f.bouncer.Close())
	}
	for _, q := range []*xsk.QueueSet{f.a, f.b} {
		if q != nil {
			errs = append(errs, q.Close())
		}
	}
	return errors.Join(errs...)
}

// send sends n frames, or as many as there are.
func (f *frames) send(n int) error {
	s := f.a.Sockets[0]
	if got := s.Completion.Take(f.back); got > 0 {
		f.free = append(f.free, f.back[:got]...)
	}
	n = min(n, len(f.free))
	for i := range n {
		f.descs[i] = xsk.Desc{Address: f.free[len(f.free)-1-i], Length: uint32(f.length)}
	}
	f.free = f.free[:len(f.free)-s.Tx.Put(f.descs[:n])]
	_, err := s.WakeTx()
	return err
}

// take takes what has come, and gives the frames back at once.
func take(q *xsk.QueueSet, ds []xsk.Desc, back []uint64) int {
	s := q.Sockets[0]
	n := s.Rx.Take(ds)
	if n == 0 {
		return 0
	}
	for i, d := range ds[:n] {
		back[i] = d.Address &^ (frameSize - 1)
	}
	s.Fill.Put(back[:n])
	return n
}

func (f *frames) near(s *Spec, length time.Duration, stop *atomic.Bool) (report.Sample, error) {
	if s.Kind == report.KindStream {
		for until := after(s.Warmup + length); !past(until); {
			if err := f.send(len(f.descs)); err != nil {
				return report.Sample{}, err
			}
		}
		return report.Sample{}, nil
	}
	var ds [4]xsk.Desc
	var back [4]uint64
	return timed(s, length, func() error {
		if err := f.send(1); err != nil {
			return err
		}
		for range 1 << 22 {
			if take(f.a, ds[:], back[:]) > 0 {
				return nil
			}
			sched.Pause()
		}
		return fmt.Errorf("%w: does the far end send frames back?", errSilent)
	})
}

func (f *frames) far(s *Spec, stop *atomic.Bool) (report.Sample, error) {
	if s.Kind != report.KindStream && f.b != nil {
		return report.Sample{}, f.echo(stop)
	}
	if s.Kind != report.KindStream {
		// The far kernel answers within the near end's call, or on this CPU.
		for !stop.Load() {
			time.Sleep(time.Millisecond)
		}
		return report.Sample{}, nil
	}
	ds, back := make([]xsk.Desc, 64), make([]uint64, 64)
	return counted(s, stop, func() (int, error) { return take(f.b, ds, back), nil })
}
