// Command udpbulk compares bulk traffic over afxdp's UDP sockets with a bare
// loop of sendmsg(UDP_SEGMENT) and recvmsg(UDP_GRO), which moves the same
// datagrams and looks at none of them: one way, between two network namespaces
// over veth, both ends spinning, in turns. It needs root and two cores.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/afxdp"
	"github.com/cell-runtime/cell/afxdp/netlab"
	"github.com/cell-runtime/cell/wire"
)

var (
	payload  = flag.Int("payload", 0, "bytes of a vesicle's payload; 0: as many as fill a datagram")
	span     = flag.Duration("span", time.Second, "how long each turn takes")
	rounds   = flag.Int("rounds", 7, "turns of each")
	reliable = flag.Bool("reliable", false, "Options.Reliable")
	window   = flag.Int("window", 1024, "Options.Window")
	v6       = flag.Bool("6", false, "IPv6")
	asJSON   = flag.Bool("json", false, "print JSON")
)

// turn is what one turn has moved.
type turn struct {
	Datagrams float64 // per second, at the receiver
	Messages  float64 // vesicles, or datagrams of the bare loops
	Bytes     float64 // of payload: of the datagrams, or of the vesicles in them
}

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "udpbulk:", err)
		os.Exit(1)
	}
}

func run() error {
	lab, err := netlab.New(netlab.Options{})
	if err != nil {
		return err
	}
	defer lab.Close()
	ways := []struct {
		name string
		run  func(*netlab.Lab) (turn, error)
	}{
		{"bare GSO and GRO", func(l *netlab.Lab) (turn, error) { return bare(l, size()) }},
		{"bare, each its own", func(l *netlab.Lab) (turn, error) { return bare(l, each()) }},
		{"afxdp over UDP", func(l *netlab.Lab) (turn, error) { return cell(l, false) }},
		{"afxdp, NoOffload", func(l *netlab.Lab) (turn, error) { return cell(l, true) }},
	}
	turns := make([][]turn, len(ways))
	for range *rounds {
		for i, w := range ways {
			t, err := w.run(lab)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			turns[i] = append(turns[i], t)
		}
	}
	if *asJSON {
		return json.NewEncoder(os.Stdout).Encode(turns)
	}
	of := func(i int, f func(turn) float64) (least, median, most float64) {
		var all []float64
		for _, t := range turns[i] {
			all = append(all, f(t))
		}
		slices.Sort(all)
		return all[0], all[len(all)/2], all[len(all)-1]
	}
	fmt.Printf("%-20s %32s %14s %14s %10s\n", "", "datagrams/s (least … most)", "messages/s", "payload MB/s", "datagrams")
	_, limit, _ := of(0, func(t turn) float64 { return t.Datagrams })
	for i, w := range ways {
		least, median, most := of(i, func(t turn) float64 { return t.Datagrams })
		_, vesicles, _ := of(i, func(t turn) float64 { return t.Messages })
		_, bytes, _ := of(i, func(t turn) float64 { return t.Bytes })
		fmt.Printf("%-20s %12.0f (%7.0f … %7.0f) %14.0f %14.0f %10.2f\n", w.name, median, least, most, vesicles, bytes/1e6, median/limit)
	}
	return nil
}

// spin runs a sender and a receiver, each on a thread of its own, for a turn.
// Each returns false when it has to stop.
func spin(send, receive func() bool) time.Duration {
	var end atomic.Bool
	var wg sync.WaitGroup
	start := time.Now()
	for _, f := range []func() bool{send, receive} {
		wg.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			for !end.Load() && f() {
			}
		})
	}
	time.Sleep(*span)
	end.Store(true)
	wg.Wait()
	return time.Since(start)
}

// size is that of a datagram.
func size() int {
	if *v6 {
		return 1452
	}
	return 1472
}

func addresses(l *netlab.Lab) (a, b netip.AddrPort) {
	return netip.AddrPortFrom(l.A.Addr(*v6), 7001), netip.AddrPortFrom(l.B.Addr(*v6), 7002)
}

// each is how long the datagrams are of a bare loop in which every message is a
// datagram of its own.
func each() int {
	if *payload == 0 {
		return size()
	}
	return *payload
}

func bare(l *netlab.Lab, size int) (turn, error) {
	from, to := addresses(l)
	out, err := open(l.A, from, to)
	if err != nil {
		return turn{}, err
	}
	defer unix.Close(out)
	in, err := open(l.B, to, from)
	if err != nil {
		return turn{}, err
	}
	defer unix.Close(in)
	if err := unix.SetsockoptInt(in, unix.IPPROTO_UDP, unix.UDP_GRO, 1); err != nil {
		return turn{}, err
	}
	n := min(64, 64000/size) * size
	var failed error
	var got int
	var outgoing, incoming message
	source, sink := make([]byte, n), make([]byte, 1<<16)
	outgoing.set(source, size)
	d := spin(func() bool {
		if _, errno := outgoing.call(unix.SYS_SENDMSG, out); errno != 0 && errno != unix.EAGAIN && errno != unix.ENOBUFS {
			failed = errno
		}
		return failed == nil
	}, func() bool {
		incoming.set(sink, 0)
		if n, errno := incoming.call(unix.SYS_RECVMSG, in); errno == 0 {
			got += n
		}
		return true
	})
	n = int(float64(got) / float64(size) / d.Seconds())
	return turn{Datagrams: float64(n), Messages: float64(n), Bytes: float64(got) / d.Seconds()}, failed
}

func open(h *netlab.Host, local, remote netip.AddrPort) (fd int, err error) {
	err = h.Do(func() error {
		family := unix.AF_INET
		if local.Addr().Is6() {
			family = unix.AF_INET6
		}
		fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		for _, o := range []int{unix.SO_RCVBUFFORCE, unix.SO_SNDBUFFORCE} {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, o, 4<<20); err != nil {
				return err
			}
		}
		return errors.Join(unix.Bind(fd, sockaddr(local)), unix.Connect(fd, sockaddr(remote)))
	})
	return fd, err
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

func cell(l *netlab.Lab, noOffload bool) (turn, error) {
	x, y := addresses(l)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	o := &afxdp.Options{Reliable: *reliable, Window: *window, NoOffload: noOffload}
	var a, b *afxdp.Conn
	var errs [2]error
	var wg sync.WaitGroup
	wg.Go(func() { errs[0] = l.A.Do(func() (err error) { a, err = afxdp.DialUDP(ctx, x, y, o); return err }) })
	wg.Go(func() { errs[1] = l.B.Do(func() (err error) { b, err = afxdp.DialUDP(ctx, y, x, o); return err }) })
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return turn{}, err
	}
	defer a.Close()
	defer b.Close()
	each := *payload
	if each == 0 {
		each = a.Info().MaxPayload
	}
	perDatagram := max(1, (a.Info().MaxPayload+wire.HeaderSize)/((each+wire.HeaderSize+3)&^3))
	batch := 128 * perDatagram // what a window of several messages takes
	out, in := make([]wire.Vesicle, min(batch, 2048)), make([]wire.Vesicle, 512)
	var sendErr, pollErr error
	var vesicles, bytes int
	d := spin(func() bool {
		n, _ := a.Claim(out, each)
		for i := range out[:n] {
			out[i].Header = wire.Header{Kind: wire.KindEvent, Correlation: uint32(i)}
		}
		sendErr = a.Commit(out[:n])
		_ = a.Flush() // full: again
		return sendErr == nil
	}, func() bool {
		var n int
		n, pollErr = b.Poll(in)
		for i := range in[:n] {
			bytes += len(in[i].Payload)
		}
		vesicles += n
		pollErr = errors.Join(pollErr, b.Release(n))
		return pollErr == nil
	})
	s := d.Seconds()
	return turn{float64(vesicles) / float64(perDatagram) / s, float64(vesicles) / s, float64(bytes) / s}, errors.Join(sendErr, pollErr)
}
