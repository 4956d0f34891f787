package network

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// refusals are the last ones, for people. One source has one place for each thing
// that it was refused, so whoever is turned away again and again, from whatever
// ports, neither drives the others out nor fills the audit.
type refusals struct {
	last  []Refusal // the latest last
	spare float64   // of those that may be told on
	since time.Time // when that was counted
}

// Refusal is a peer that was turned away, or that has turned this node away.
type Refusal struct {
	At        time.Time // of the last time
	Who, What string
	Why       string
	Times     uint64 // how often

	source string
	told   time.Time
}

const (
	// refusalsKept is how many are remembered.
	refusalsKept = 16
	// refusalsEvery is how often one source's refusals are told on.
	refusalsEvery = time.Second
	// refusalsRate and refusalsBurst bound those of all sources together, which
	// an attacker may have many of.
	refusalsRate, refusalsBurst = 5, 64
)

// add notes a refusal and reports whether it is to be told on.
func (r *refusals) add(now time.Time, who, what string, why error) (tell bool) {
	x := Refusal{At: now, Who: who, What: what, Why: printable(why.Error()), Times: 1, source: sourceOf(who)}
	if i := slices.IndexFunc(r.last, func(y Refusal) bool { return y.source == x.source && y.What == what }); i >= 0 {
		x.Times += r.last[i].Times
		x.told = r.last[i].told
		r.last = slices.Delete(r.last, i, i+1)
	}
	if len(r.last) == refusalsKept {
		r.last = r.last[1:]
	}
	if tell = now.Sub(x.told) >= refusalsEvery && r.afford(now); tell {
		x.told = now
	}
	r.last = append(r.last, x)
	return tell
}

// afford takes one from a bucket.
func (r *refusals) afford(now time.Time) bool {
	if r.since.IsZero() {
		r.spare = refusalsBurst
	} else {
		r.spare = min(refusalsBurst, r.spare+now.Sub(r.since).Seconds()*refusalsRate)
	}
	r.since = now
	if r.spare < 1 {
		return false
	}
	r.spare--
	return true
}

// words is why, and how often where that was more than once.
func (x *Refusal) words() string {
	if x.Times == 1 {
		return x.Why
	}
	return fmt.Sprintf("%s (%d times)", x.Why, x.Times)
}

// sourceOf is by what refusals are counted: of an address the host, without the
// port, and with IPv6 the /64 that one host has to itself; a node's name as it is.
func sourceOf(who string) string {
	at, err := netip.ParseAddrPort(who)
	if err != nil {
		return who
	}
	ip := at.Addr().Unmap()
	if ip.Is4() {
		return ip.String()
	}
	p, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return ip.String()
	}
	return p.String()
}
