package netbench

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/afxdp/netlab"
	"github.com/cell-runtime/cell/cmd/cellbench/internal/bench"
	"github.com/cell-runtime/cell/cmd/cellbench/internal/report"
	"github.com/cell-runtime/cell/sched"
)

// kernel is a pair of bare UDP sockets, connected and non-blocking, on which
// both sides spin. Datagrams have as many bytes as one vesicle in one of
// Cell's.
type kernel struct {
	a, b    int
	size    int
	batches [2]messages
}

// datagramOf is how many bytes one vesicle has in a datagram of its own.
func datagramOf(s *Spec) int { return 32 + (20+s.Payload+3)&^3 }

func openKernel(l *netlab.Lab, s *Spec) (contestant, error) {
	k := &kernel{a: -1, b: -1, size: datagramOf(s)}
	x, y := netip.AddrPortFrom(l.A.V4, portA), netip.AddrPortFrom(l.B.V4, portB)
	err := errors.Join(
		l.A.Do(func() (err error) { k.a, err = socket(x, y); return err }),
		l.B.Do(func() (err error) { k.b, err = socket(y, x); return err }))
	if err != nil {
		return nil, errors.Join(err, k.close())
	}
	for i := range k.batches {
		k.batches[i].open(k.size)
	}
	return k, nil
}

func socket(local, remote netip.AddrPort) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("a UDP socket: %w", err)
	}
	for _, o := range []int{unix.SO_RCVBUFFORCE, unix.SO_SNDBUFFORCE} {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, o, 4<<20) // less is had without root
	}
	err = unix.Bind(fd, &unix.SockaddrInet4{Addr: local.Addr().As4(), Port: int(local.Port())})
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrInet4{Addr: remote.Addr().As4(), Port: int(remote.Port())})
	}
	if err != nil {
		return -1, errors.Join(fmt.Errorf("a UDP socket: %w", err), unix.Close(fd))
	}
	return fd, nil
}

func (k *kernel) about() (string, []string) {
	return "bare UDP sockets, non-blocking, both sides spinning", nil
}

func (k *kernel) close() error {
	var errs []error
	for _, fd := range []int{k.a, k.b} {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	return errors.Join(errs...)
}

func (k *kernel) near(s *Spec, length time.Duration, stop *atomic.Bool) (report.Sample, error) {
	if s.Kind == report.KindStream {
		for until := after(s.Warmup + length); !past(until); {
			if err := k.batches[0].send(k.a); err != nil {
				return report.Sample{}, err
			}
		}
		return report.Sample{}, nil
	}
	b := make([]byte, k.size)
	return timed(s, length, func() error {
		if err := write(k.a, b); err != nil {
			return err
		}
		for range 1 << 20 {
			if n, err := read(k.a, b); n > 0 || err != nil {
				return err
			}
		}
		return errSilent
	})
}

// timed makes round trips for a while.
func timed(s *Spec, length time.Duration, once func() error) (report.Sample, error) {
	begin := after(s.Warmup)
	until := begin + sched.NanosToTicks(int64(length))
	rec := bench.NewTimes()
	started, t := sched.Now(), sched.Ticks()
	for !past(until) {
		if err := once(); err != nil {
			return report.Sample{}, err
		}
		now := sched.Ticks()
		if int64(t-begin) >= 0 {
			rec.Ticks(now - t)
		} else {
			started = sched.Now()
		}
		t = now
	}
	d := rec.Distribution()
	return report.Sample{Times: d, Count: d.Count(), Bytes: d.Count() * uint64(s.Payload), Elapsed: time.Duration(sched.Now() - started)}, nil
}

func (k *kernel) far(s *Spec, stop *atomic.Bool) (report.Sample, error) {
	if s.Kind == report.KindStream {
		return counted(s, stop, func() (int, error) { return k.batches[1].receive(k.b) })
	}
	b := make([]byte, k.size+1)
	for i := 0; ; i++ {
		n, err := read(k.b, b)
		if err == nil && n > 0 {
			err = write(k.b, b[:n])
		}
		if err != nil || i%looks == 0 && stop.Load() {
			return report.Sample{}, err
		}
	}
}

// counted takes what comes until it is told to stop, and counts from the end of
// the warm-up on.
func counted(s *Spec, stop *atomic.Bool, take func() (int, error)) (report.Sample, error) {
	var count uint64
	from, begin := after(s.Warmup), int64(0)
	for i := 0; i%looks != 0 || !stop.Load(); i++ {
		n, err := take()
		if err != nil {
			return report.Sample{}, err
		}
		if n > 0 && begin == 0 && past(from) {
			begin, count = sched.Now(), 0
		}
		count += uint64(n)
	}
	if begin == 0 || count == 0 {
		return report.Sample{}, errors.New("nothing came within the round; lengthen --duration")
	}
	return report.Sample{Count: count, Bytes: count * uint64(s.Payload), Elapsed: time.Duration(sched.Now() - begin)}, nil
}
