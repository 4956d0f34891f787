package afxdp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/cell-runtime/cell/afxdp/netlab"
	"github.com/cell-runtime/cell/afxdp/packet"
	"github.com/cell-runtime/cell/afxdp/xsk"
	"github.com/cell-runtime/cell/ebpf"
)

// Whether a program in the driver or behind it has the shorter round trips over
// veth depends on the kernel. Without a peer it can be tried out between two
// namespaces of one's own: there all of a packet's way lies within its sender's
// system call, so that one thread measures it, undisturbed by what lies between
// two CPUs.
const (
	trialTurns  = 15  // of each mode, one after the other
	trialTrips  = 100 // of a turn
	trialFrames = 64
	trialWait   = 5 * time.Millisecond
	trialPort   = 47100
)

// modeTimes are what a round trip takes in either mode.
type modeTimes struct{ driver, generic time.Duration }

// measuredModes tries both out, once in a process. It needs CAP_SYS_ADMIN beside
// what AF_XDP needs.
var measuredModes = sync.OnceValues(measureModes)

func measureModes() (t modeTimes, err error) {
	var pairs [2]*trialPair
	defer func() {
		for _, p := range pairs {
			if p != nil {
				err = errors.Join(err, p.close())
			}
		}
	}()
	for i, mode := range []ebpf.Mode{ebpf.ModeDriver, ebpf.ModeGeneric} {
		if pairs[i], err = openTrial(mode); err != nil {
			return t, err
		}
	}
	var took [2][]time.Duration
	for range trialTurns {
		for i, p := range pairs {
			d, err := p.turn()
			if err != nil {
				return t, err
			}
			took[i] = append(took[i], d/trialTrips)
		}
	}
	for i := range took {
		slices.Sort(took[i])
	}
	return modeTimes{took[0][trialTurns/2], took[1][trialTurns/2]}, nil
}

// trialPair is two hosts with a socket each.
type trialPair struct {
	lab  *netlab.Lab
	ends [2]trialEnd
}

// trialEnd has frames to receive into, and one to send.
type trialEnd struct {
	set      *xsk.QueueSet
	redirect *ebpf.Redirect
	out      xsk.Desc
}

func openTrial(mode ebpf.Mode) (p *trialPair, err error) {
	p = &trialPair{}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("trying out the %v mode: %w", mode, err), p.close())
			p = nil
		}
	}()
	if p.lab, err = netlab.New(netlab.Options{}); err != nil {
		return p, err
	}
	for i, h := range []*netlab.Host{p.lab.A, p.lab.B} {
		peer := p.lab.B
		if i == 1 {
			peer = p.lab.A
		}
		f := &packet.Flow{Local: netip.AddrPortFrom(h.V4, trialPort), Remote: netip.AddrPortFrom(peer.V4, trialPort), LocalMAC: h.MAC, RemoteMAC: peer.MAC}
		if err := h.Do(func() error { return p.ends[i].open(h.Index, mode, f) }); err != nil {
			return p, err
		}
	}
	return p, nil
}

func (e *trialEnd) open(ifindex int, mode ebpf.Mode, f *packet.Flow) (err error) {
	const frameSize, ring = 2048, trialFrames
	e.set, err = xsk.OpenQueues(xsk.UmemOptions{Frames: trialFrames + 1, FrameSize: frameSize},
		xsk.Config{Interface: ifindex, Rx: ring, Tx: ring, Fill: ring, Completion: ring, Copying: xsk.CopyAlways}, []uint32{0})
	if err != nil {
		return err
	}
	s := e.set.Sockets[0]
	for i := range uint64(trialFrames) {
		s.Fill.Put([]uint64{i * frameSize})
	}
	t, err := packet.NewTemplate(f)
	if err != nil {
		return err
	}
	e.out = xsk.Desc{Address: trialFrames * frameSize, Length: uint32(t.Size() + 64)}
	t.Put(e.set.Umem.Packet(e.out), true)
	if e.redirect, err = ebpf.LoadRedirect(trialPort); err != nil {
		return err
	}
	return errors.Join(e.redirect.SetSocket(0, s.FD()), e.redirect.Attach(ifindex, mode))
}

// turn takes the time of some round trips.
func (p *trialPair) turn() (time.Duration, error) {
	start := time.Now()
	for range trialTrips {
		for i := range p.ends {
			if err := p.ends[i].pass(&p.ends[1-i]); err != nil {
				return 0, err
			}
		}
	}
	return time.Since(start), nil
}

// pass sends a frame to another end and waits for it there.
func (e *trialEnd) pass(to *trialEnd) error {
	from, at := e.set.Sockets[0], to.set.Sockets[0]
	var back [1]uint64
	from.Completion.Take(back[:])
	if from.Tx.Put([]xsk.Desc{e.out}) != 1 {
		return errors.New("the socket takes no frame")
	}
	if _, err := from.WakeTx(); err != nil {
		return err
	}
	var in [1]xsk.Desc
	for end := time.Now().Add(trialWait); at.Rx.Take(in[:]) == 0; {
		if time.Now().After(end) {
			return fmt.Errorf("a frame has not come within %v", trialWait)
		}
	}
	at.Fill.Put([]uint64{in[0].Address &^ 2047})
	return nil
}

func (p *trialPair) close() error {
	var errs []error
	for _, e := range p.ends {
		if e.redirect != nil {
			errs = append(errs, e.redirect.Close())
		}
		if e.set != nil {
			errs = append(errs, e.set.Close())
		}
	}
	if p.lab != nil {
		errs = append(errs, p.lab.Close())
	}
	return errors.Join(errs...)
}

// chooseMode settles ModeAuto for an interface, and says why; "" leaves it to
// whether the driver runs the program.
func chooseMode(kind string, measure bool) (generic bool, why string) {
	if kind != "veth" {
		return false, ""
	}
	const rule = "Generic mode, behind the driver: on veth its round trips are the shorter ones. Options.XDP.Mode has the driver's, which takes more packets a second."
	if !measure {
		return true, rule
	}
	t, err := measuredModes()
	switch {
	case err != nil:
		return true, fmt.Sprintf("%s Options.XDP.Measure could not tell: %v.", rule, err)
	case t.driver < t.generic:
		return false, fmt.Sprintf("The driver's mode, measured at the start: a round trip over veth takes %v of one CPU, %v in generic mode.", t.driver, t.generic)
	}
	return true, fmt.Sprintf("Generic mode, behind the driver, measured at the start: a round trip over veth takes %v of one CPU, %v in the driver's.", t.generic, t.driver)
}
