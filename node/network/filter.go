package network

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"github.com/cell-runtime/cell/discovery"
	"github.com/cell-runtime/cell/ebpf"
)

// filters are the programs in the kernel that keep floods from the port of
// discovery, one for each interface. Without them the sockets' own filters drop
// what is of another cluster, at a higher price.
type filters struct {
	attached []attachment
	why      []string // not on an interface, or not in a cheaper mode
}

type attachment struct {
	iface   string
	program *ebpf.Pheromone
}

// The pace at which the filter lets beacons of sources through that were not
// seen lately: enough for a large cluster that starts at once.
const (
	newcomersEvery = time.Millisecond
	newcomersBurst = 2048
)

// attach attaches the filter where the configuration wants it and it can be had.
// In mode auto that is tcx, which concerns no driver and no other program.
func (f *filters) attach(n *Network, agent *discovery.Agent, o discovery.Options) {
	mode := ebpf.ModeTCX
	switch wanted := n.o.Config.Filter; wanted {
	case "off":
		f.why = []string{"network.filter is off"}
		return
	case "auto":
		if os.Geteuid() != 0 {
			f.why = []string{"it takes CAP_BPF and CAP_NET_ADMIN"}
			return
		}
	default:
		var err error
		if mode, err = ebpf.ParseMode(wanted); err != nil { // Check has seen it
			f.why = []string{err.Error()}
			return
		}
	}
	port := o.Port
	if port == 0 {
		port = discovery.DefaultPort
	}
	for _, name := range agent.Stats().Interfaces {
		if slices.ContainsFunc(f.attached, func(a attachment) bool { return a.iface == name }) {
			continue
		}
		p, err := load(name, mode, ebpf.Rules{Port: uint16(port), Cluster: o.Cluster.ID, NewEvery: newcomersEvery, NewBurst: newcomersBurst})
		if err != nil {
			f.why = append(f.why, fmt.Sprintf("%s: %v", name, err))
			n.o.Logger.Info("network: no filter in the kernel", "interface", name, "why", err)
			continue
		}
		f.attached = append(f.attached, attachment{name, p})
		n.o.Logger.Info("network: filter in the kernel", "interface", name, "mode", mode.String())
	}
}

func load(iface string, mode ebpf.Mode, r ebpf.Rules) (*ebpf.Pheromone, error) {
	i, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, err
	}
	p, err := ebpf.LoadPheromone(r)
	if err != nil {
		return nil, err
	}
	if err := p.Attach(i.Index, mode); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (f *filters) close() error {
	var errs []error
	for _, a := range f.attached {
		errs = append(errs, a.program.Close())
	}
	f.attached = nil
	return errors.Join(errs...)
}
