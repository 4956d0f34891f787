package netbench

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/cell-runtime/cell/afxdp"
	"github.com/cell-runtime/cell/afxdp/asavie"
	"github.com/cell-runtime/cell/afxdp/netlab"
)

const (
	portA, portB = 47201, 47202
	openTimeout  = 10 * time.Second
)

// open makes hosts and a contestant between them.
func open(ctx context.Context, name string, s *Spec) (*entry, error) {
	e := &entry{name: name}
	var err error
	if e.lab, err = netlab.New(netlab.Options{}); err != nil {
		return e, err
	}
	switch name {
	case LinkXDP, LinkAsavie, LinkUDP:
		e.contestant, err = openLink(ctx, e.lab, name, s)
	case KernelUDP:
		e.contestant, err = openKernel(e.lab, s)
	case BareXDP, BareFrames:
		e.contestant, err = openFrames(e.lab, name == BareXDP, s)
	case BareEcho:
		e.contestant, err = openFrames(e.lab, false, s)
	case CSender:
		e.contestant, err = openSender(ctx, e.lab, s)
	case Generated:
		e.contestant, err = openGenerated(e.lab, s)
	case PolledNAPI:
		e.contestant, err = openPolled(e.lab, s)
	default:
		err = fmt.Errorf("there is no contestant %q", name)
	}
	return e, err
}

// openLink connects the two hosts.
func openLink(ctx context.Context, l *netlab.Lab, name string, s *Spec) (contestant, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	o := &afxdp.Options{Reliable: s.Reliable, Window: 256, XDP: afxdp.XDPOptions{Required: true, Mode: s.Mode, Peers: 1}}
	dial := afxdp.Dial
	switch name {
	case LinkUDP:
		dial = afxdp.DialUDP
	case LinkAsavie:
		o.XDP.Backend = asavie.Name
	}
	x, y := netip.AddrPortFrom(l.A.V4, portA), netip.AddrPortFrom(l.B.V4, portB)
	c := &linked{asavie: name == LinkAsavie}
	var errs [2]error
	var wg sync.WaitGroup
	wg.Go(func() { errs[0] = l.A.Do(func() (err error) { c.a, err = dial(ctx, x, y, o); return err }) })
	wg.Go(func() { errs[1] = l.B.Do(func() (err error) { c.b, err = dial(ctx, y, x, o); return err }) })
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			_ = c.close()
			return nil, err
		}
	}
	return c, nil
}

// Links are those of Cell that this machine can measure.
func Links() []string {
	if runtime.GOARCH != "amd64" { // asavie/xdp has no memory barriers
		return []string{LinkXDP, LinkUDP}
	}
	return []string{LinkXDP, LinkAsavie, LinkUDP}
}
