package discovery

import (
	"errors"
	"fmt"
	"time"
)

// ErrConfig: a configuration can't be used; the message names the field.
var ErrConfig = errors.New("discovery: unusable configuration")

// Trust is how far a node is believed to belong to the cluster.
type Trust uint8

// Degrees of trust. Where a table is full, those with less go first.
const (
	Distrusted Trust = iota
	Unproven         // its credentials must be looked at, which its beacon has
	ByKey            // it proves to belong to the cluster
	ByName           // it is on a list
)

// Timing is the protocol's pace. Zero fields mean the defaults, with which a
// dead node is gone after at most 2.8 s: who was heard within half a Period is
// not probed in it, so up to 1.5 of them pass before the first probe, then four
// times Patience, then Suspicion. The rest to 3 s is for slow hosts and losses.
type Timing struct {
	// Period is within which every node is probed once by some other.
	// Default 1.15 s.
	Period time.Duration
	// Patience is for how long one attempt of a probe waits; there are two,
	// then a third together with three other nodes, which has twice the time.
	// Default 100 ms.
	Patience time.Duration
	// Suspicion is for how long a node that did not answer may still say that
	// it lives. Default 650 ms.
	Suspicion time.Duration
	// QuietMin and QuietMax bound the time between announcements when nothing
	// changes; between them it grows by QuietPerNode for each node, so that
	// all nodes together announce at the same rate whatever their number.
	// Defaults 1 min, 10 min, 250 ms.
	QuietMin, QuietMax, QuietPerNode time.Duration
	// AnswerPerNode is how long, for each node, answers to a newcomer are
	// spread out. Default 200 µs.
	AnswerPerNode time.Duration
	// MaxSkew is how far others' clocks may be from this node's. Default 60 s.
	MaxSkew time.Duration
	// Reconnect is for how long a node that was lost is still asked whether
	// it is back. Default 10 min.
	Reconnect time.Duration
	// Gossip is how often tables are compared over reliable links. Default 10 s.
	Gossip time.Duration
}

// Limits bound what others can make this node do. Zero fields mean the defaults.
type Limits struct {
	// Peers is the most nodes in the table, dead ones included, which are
	// remembered so that their pheromones can't be repeated. Default 16,384.
	Peers int
	// VerifyKnown and VerifyOther are the most signatures a second that are
	// verified of nodes that come from where they were before, and of all
	// others together, those of a new node's credentials included. Of the former
	// half is for each node in equal parts, the rest for whoever comes first.
	// Defaults 10,000 and 5,000.
	VerifyKnown, VerifyOther int
	// Relays is the most packets of other nodes' beacons a second that are
	// sent on. Default 64.
	Relays int
	// Links is the most reliable links for gossip. Default 64.
	Links int
	// Hops is over how many reliable links a node may have become known.
	// Default 4.
	Hops uint8
}

// Config says how a [Machine] behaves.
type Config struct {
	Cluster Cluster
	Node    ID
	Signer  Signer
	// Verifier checks signatures; nil means [Ed25519].
	Verifier Verifier
	// Trust is asked about every node that claims to be of the cluster, before
	// its signature is looked at, so it must be quick. nil: whoever has the
	// cluster's key is trusted, and in a cluster without one nobody.
	Trust func(ID) Trust
	// Admit is asked about a node that is Unproven, when its beacon's
	// signature was found right. nil: nobody is admitted.
	Admit func(id ID, credentials []byte) Trust
	// Credentials returns those of this node. It is asked at every beacon.
	Credentials func() []byte
	// Incarnation must be greater at every start of the node; the wall clock
	// in nanoseconds will do.
	Incarnation uint64
	// Seed makes what is drawn at random repeatable.
	Seed uint64
	// Name and Host of the node's beacons; see [Beacon].
	Name string
	Host [8]byte
	// Expected is about how many nodes there will be, for which room is made at
	// once. Default: room is made as they come.
	Expected int
	// Client: the node only looks for others and is no member.
	Client bool
	Timing Timing
	Limits Limits
	// Parse replaces [ParseBeacon], for simulations in which many machines
	// share what they read.
	Parse func(e *Envelope, body []byte) (*Beacon, error)
}

func (t *Timing) defaults() {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&t.Period, 1150 * time.Millisecond}, {&t.Patience, 100 * time.Millisecond}, {&t.Suspicion, 650 * time.Millisecond},
		{&t.QuietMin, time.Minute}, {&t.QuietMax, 10 * time.Minute}, {&t.QuietPerNode, 250 * time.Millisecond},
		{&t.AnswerPerNode, 200 * time.Microsecond}, {&t.MaxSkew, time.Minute},
		{&t.Reconnect, 10 * time.Minute}, {&t.Gossip, 10 * time.Second},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
}

func (l *Limits) defaults() {
	for _, d := range []struct {
		field *int
		value int
	}{{&l.Peers, 16384}, {&l.VerifyKnown, 10_000}, {&l.VerifyOther, 5_000}, {&l.Relays, 64}, {&l.Links, 64}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if l.Hops == 0 {
		l.Hops = 4
	}
}

// complete fills in defaults. The error wraps [ErrConfig].
func (c *Config) complete() error {
	c.Timing.defaults()
	c.Limits.defaults()
	t, l := &c.Timing, &c.Limits
	switch {
	case c.Signer == nil:
		return fmt.Errorf("%w: no Signer; FromIdentity brings one", ErrConfig)
	case c.Incarnation == 0:
		return fmt.Errorf("%w: Incarnation is 0; use the time of the start", ErrConfig)
	case t.Period < 10*time.Millisecond || t.Patience < time.Millisecond || t.Suspicion < time.Millisecond:
		return fmt.Errorf("%w: Period %v, Patience %v, Suspicion %v; at least 10 ms, 1 ms and 1 ms", ErrConfig, t.Period, t.Patience, t.Suspicion)
	case t.QuietMin < t.Period || t.QuietMax < t.QuietMin || 3*t.QuietMax > 60_000*time.Second:
		return fmt.Errorf("%w: QuietMin %v, QuietMax %v; Period <= QuietMin <= QuietMax <= 20,000 s", ErrConfig, t.QuietMin, t.QuietMax)
	case l.Peers < 2 || l.Peers > 1<<20:
		return fmt.Errorf("%w: Limits.Peers %d; 2 to %d", ErrConfig, l.Peers, 1<<20)
	case !validText(c.Name, MaxName):
		return fmt.Errorf("%w: Name %q; at most %d printable ASCII characters", ErrConfig, c.Name, MaxName)
	}
	if c.Trust == nil {
		trust := Distrusted
		if c.Cluster.Keyed() {
			trust = ByKey
		}
		c.Trust = func(ID) Trust { return trust }
	}
	if c.Admit == nil {
		c.Admit = func(ID, []byte) Trust { return Distrusted }
	}
	if c.Credentials == nil {
		c.Credentials = func() []byte { return nil }
	}
	if c.Parse == nil {
		c.Parse = ParseBeacon
	}
	return nil
}
