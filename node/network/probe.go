package network

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/sched"
)

// Probe looks at what a node of this host needs to find others and to be found, as
// a configuration has it, and says how to mend what is missing. It changes nothing.
func Probe(c config.Network) []sched.Finding {
	if c.Mode == "off" {
		return []sched.Finding{{ID: "network.mode", Severity: sched.Info, What: "the node stays alone", Evidence: "network.mode is off"}}
	}
	all, err := net.Interfaces()
	return []sched.Finding{
		probeMember(c, time.Now()),
		probeInterfaces(c, all, err),
		probePort(c),
		probeClock(unix.Adjtimex),
	}
}

// probeMember looks at whom the node belongs to, and for how long.
func probeMember(c config.Network, now time.Time) sched.Finding {
	f := sched.Finding{ID: "network.member"}
	dir, err := (&Network{o: Options{Config: c}}).identityDir()
	if err == nil {
		err = Belongs(dir)
	}
	if err != nil {
		f.Severity, f.What, f.Evidence, f.Fix = sched.Info, "a node of this host meets nobody", err.Error(), "cellnode token create, on one host; cellnode join - < token, on the others"
		if c.Mode == "on" || !errors.Is(err, ErrAlone) {
			f.Severity = sched.Problem
		}
		return f
	}
	mine, err := identity.LoadCredentials(dir)
	if err != nil {
		f.Severity, f.What, f.Evidence, f.Fix = sched.Problem, "the node's key can't be used", err.Error(), "mend what it says"
		return f
	}
	m := mine.Membership()
	if m == nil {
		f.What, f.Evidence = "the node meets those on its allow list, and is met where it is on theirs", dir
		return f
	}
	left := m.Until().Sub(now)
	f.Evidence = fmt.Sprintf("%s: a membership of %v until %s", dir, m.Cluster, m.Until().Format(time.RFC3339))
	switch {
	case left <= 0:
		f.Severity, f.What, f.Fix = sched.Problem, "the node's membership has ended: nobody lets it in", "cellnode join TOKEN@HOST:PORT, or cellnode join - < token"
	case !m.Confirmed() && !c.Enrol && len(c.EnrolAt) == 0:
		f.Severity, f.What = sched.Info, fmt.Sprintf("the node is a member by a token, for %v more, unless a node that enrols is found", left.Round(time.Minute))
		f.Fix = "network.enrol = true, on the node where the cluster's key lies"
	case left < m.Until().Sub(m.NotBefore)/4:
		f.Severity, f.What, f.Fix = sched.Warning, fmt.Sprintf("the node's membership ends in %v and was not renewed, which is tried from its half on", left.Round(time.Minute)), "cellnode join @HOST:PORT of a node that enrols (network.enrol)"
	default:
		f.What = fmt.Sprintf("the node is a member for %v more", left.Round(time.Minute))
	}
	return f
}

// probeInterfaces looks for interfaces on which others can be found.
func probeInterfaces(c config.Network, all []net.Interface, err error) sched.Finding {
	f := sched.Finding{ID: "network.interfaces"}
	if err != nil {
		f.Severity, f.What, f.Evidence = sched.Info, "the interfaces are unknown", err.Error()
		return f
	}
	var good, mute []string
	for _, i := range all {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 || len(c.Interfaces) > 0 && !slices.Contains(c.Interfaces, i.Name) {
			continue
		}
		if i.Flags&net.FlagMulticast != 0 && c.Multicast || i.Flags&net.FlagBroadcast != 0 && (c.Broadcast || i.Flags&net.FlagMulticast == 0) {
			good = append(good, i.Name)
		} else {
			mute = append(mute, i.Name)
		}
	}
	f.Evidence = "multicast or broadcast: " + strings.Join(good, " ") + "; neither: " + strings.Join(mute, " ")
	switch {
	case len(good) > 0:
		f.What = "others are found on " + strings.Join(good, ", ")
	case len(c.Seeds)+len(c.Peers) > 0:
		f.What = "others are found by network.seeds and network.peers alone"
	default:
		f.Severity, f.What = sched.Warning, "no interface carries what nodes find each other by"
		f.Fix = "ip link set IFACE up multicast on, or name nodes in network.seeds or network.peers"
	}
	return f
}

// probePort looks whether QUIC has its port.
func probePort(c config.Network) sched.Finding {
	f := sched.Finding{ID: "network.port"}
	at := c.Listen
	if at == "" {
		at = fmt.Sprintf(":%d", DefaultPort)
	}
	l, err := net.ListenPacket("udp", at)
	switch {
	case err == nil:
		_ = l.Close()
		f.What, f.Evidence = "the address of links from other nodes is free", at+" (UDP)"
	case errors.Is(err, unix.EADDRINUSE):
		f.Severity, f.What, f.Evidence = sched.Info, "the address of links from other nodes is taken: by the node, if one runs here", err.Error()
		f.Fix = "ss -ulpn, and network.listen for another one"
	default:
		f.Severity, f.What, f.Evidence, f.Fix = sched.Problem, "the address of links from other nodes can't be had", err.Error(), "network.listen"
	}
	return f
}

// probeClock looks whether something keeps the clock right: what nodes tell is
// dropped where their clocks are a minute apart, and memberships end by it.
func probeClock(adjtimex func(*unix.Timex) (int, error)) sched.Finding {
	f := sched.Finding{ID: "network.clock"}
	var t unix.Timex
	state, err := adjtimex(&t)
	if err != nil {
		f.Severity, f.What, f.Evidence = sched.Info, "whether the clock is kept right is unknown", "adjtimex: "+err.Error()
		return f
	}
	f.Evidence = fmt.Sprintf("adjtimex: state %d, status %#x, error at most %v", state, t.Status, time.Duration(t.Maxerror)*time.Microsecond)
	if state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0 {
		f.Severity, f.What = sched.Warning, "nothing keeps the clock right; nodes whose clocks are more than 60 s apart do not find each other"
		f.Fix = "timedatectl set-ntp true, or run chrony"
		return f
	}
	f.What = "the clock is kept right"
	return f
}
