// Command hosts measures Cell's links between hosts beside what carries them:
// typed calls over QUIC and over TLS on TCP, a bare QUIC stream of quic-go, and
// a bare TLS connection, all with node keys on both sides.
//
//	hosts serve ADDR          on the one host
//	hosts call ADDR           on the other: rounds of all of them, interleaved
//	hosts wan                 both, on two hosts of namespaces far from each other
//	hosts lan                 both, on two hosts of namespaces side by side
//	hosts attack              a server's costs and honest callers under floods
//
// On one host it measures loopback.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/rpc"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "hosts:", err)
		os.Exit(1)
	}
}

// The keys are no secret: this program measures, and trusts nobody else.
func key(b byte) *identity.Key { return identity.FromSeed([32]byte{b}) }

const (
	serverKey = 1
	clientKey = 2
)

// side is what one side goes by.
type side struct {
	credentials *identity.Credentials
	trust       *identity.Trust
	congestion  string // of TCP
	receive     int    // bytes of a link's ring
	lanes       int    // of a link
	lines       bool   // results as lines of JSON
	idle        engine.Idle
	wait        rpc.WaitMode
}

var (
	idles = map[string]engine.Idle{"park": engine.IdlePark, "adaptive": engine.IdleAdaptive, "spin": engine.IdleSpin, "yield": engine.IdleYield}
	waits = map[string]rpc.WaitMode{"park": rpc.WaitPark, "adaptive": rpc.WaitAdaptive, "spin": rpc.WaitSpin}
)

func newSide(own, other byte) (*side, error) {
	c, err := identity.NewCredentials(key(own))
	if err != nil {
		return nil, err
	}
	s := &side{credentials: c, trust: &identity.Trust{}}
	return s, s.trust.Allow("", key(other).ID())
}

func run(args []string) error {
	switch {
	case len(args) > 0 && (args[0] == "wan" || args[0] == "lan"):
		return between(args[0], args[1:])
	case len(args) == 1 && args[0] == "attack":
		return attack(5 * time.Second)
	case len(args) == 3 && args[0] == "strike" && strikes[args[2]] != nil:
		host, port, err := splitAddr(args[1])
		if err != nil {
			return err
		}
		return strikes[args[2]](host, port)
	}
	set := flag.NewFlagSet("hosts", flag.ContinueOnError)
	var (
		works      = set.String("work", "rtt,window,bulk", "what to measure: rtt, window (64 callers), bulk, small (a call every 5 ms, of 64 callers in turn), move")
		who        = set.String("who", "quic-bare,cell-quic,tls-bare,cell-tls", "who is measured")
		rounds     = set.Int("rounds", 5, "rounds, interleaved")
		each       = set.Duration("each", time.Second, "of one measurement")
		congestion = set.String("congestion", "", "TCP's congestion control; the kernel's if empty")
		receive    = set.Int("receive", 0, "bytes of a link's ring, a power of two; 0 for the default")
		idle       = set.String("idle", "park", "how the server's engine idles: park, adaptive, spin, yield")
		wait       = set.String("wait", "park", "how callers wait: park, adaptive, spin")
		streams    = set.Int("connections", 1, "connections of bulk over bare QUIC")
		lanes      = set.Int("lanes", 0, "lanes of a link over QUIC; 0 for the default")
		lines      = set.Bool("json", false, "print every measurement as a line of JSON")
	)
	if len(args) < 2 {
		return fmt.Errorf("usage: hosts serve|call ADDR [flags], hosts wan|lan [flags]")
	}
	if err := set.Parse(args[2:]); err != nil {
		return err
	}
	host, port, err := splitAddr(args[1])
	if err != nil {
		return err
	}
	own, other := byte(serverKey), byte(clientKey)
	if args[0] == "call" {
		own, other = other, own
	}
	s, err := newSide(own, other)
	if err != nil {
		return err
	}
	s.congestion, s.receive, s.lines, s.lanes = *congestion, *receive, *lines, *lanes
	var known bool
	if s.idle, known = idles[*idle]; !known {
		return fmt.Errorf("there is no way to idle %q", *idle)
	}
	if s.wait, known = waits[*wait]; !known {
		return fmt.Errorf("there is no way to wait %q", *wait)
	}
	switch args[0] {
	case "serve":
		return s.serve(host, port)
	case "call":
		return s.compare(plan{host: host, port: port, works: strings.Split(*works, ","), who: strings.Split(*who, ","),
			rounds: *rounds, each: *each, connections: *streams})
	}
	return fmt.Errorf("there is no %q: serve or call", args[0])
}

// Each contender has a port of its own: port, port+1 and so on.
const (
	portBareQUIC = iota
	portBareTLS
	portCellQUIC
	portCellTLS
	portBareBBR
	portCellBBR
)

func splitAddr(addr string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	port, err = strconv.Atoi(p)
	return host, port, err
}

func join(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// plan is what is measured.
type plan struct {
	host        string
	port        int
	works, who  []string
	rounds      int
	each        time.Duration
	connections int
	bbr         bool // the ports at which both sides use it
}

// bareTLS and cellTLS are the ports of the contenders over TCP.
func (p plan) bareTLS() int {
	if p.bbr {
		return p.port + portBareBBR
	}
	return p.port + portBareTLS
}

func (p plan) cellTLS() int {
	if p.bbr {
		return p.port + portCellBBR
	}
	return p.port + portCellTLS
}

// contender opens what carries calls of one kind.
type contender struct {
	name string
	open func(ctx context.Context, s *side, p plan) (target, error)
}

// target is an open way to the server.
type target interface {
	// call makes one call of 64 bytes each way. Many may be made at once.
	call() error
	// bulk sends for so long and returns the bytes that have arrived.
	bulk(d time.Duration) (int64, error)
	close()
}

var contenders = []contender{
	{"quic-bare", openBareQUIC}, {"tls-bare", openBareTLS}, {"cell-quic", openCellQUIC}, {"cell-tls", openCellTLS},
	{"cell-quic-many", openCellQUICMany}, {"cell-tls-many", openCellTLSMany},
	{"tls-bare-bbr", withBBR(openBareTLS)}, {"cell-tls-bbr", withBBR(openCellTLS)},
}

// bbr is the congestion control for paths that lose packets; see Options of
// package quic.
const bbr = "bbr"

// withBBR has a contender over TCP use it, on both sides.
func withBBR(open func(context.Context, *side, plan) (target, error)) func(context.Context, *side, plan) (target, error) {
	return func(ctx context.Context, s *side, p plan) (target, error) {
		with := *s
		with.congestion = bbr
		p.bbr = true
		return open(ctx, &with, p)
	}
}

// compare measures everybody in turn, round by round, and prints medians with
// the least and the most of all rounds.
func (s *side) compare(p plan) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	targets := make(map[string]target)
	for _, c := range contenders {
		if !slices.Contains(p.who, c.name) {
			continue
		}
		t, err := c.open(ctx, s, p)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		defer t.close()
		targets[c.name] = t
	}
	for _, work := range p.works {
		results := make(map[string]map[string][]float64)
		for range p.rounds {
			for _, c := range contenders {
				t := targets[c.name]
				if t == nil {
					continue
				}
				got, err := measure(work, t, p.each)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", c.name, work, err)
				}
				if s.lines {
					if err := json.NewEncoder(os.Stdout).Encode(measurement{work, c.name, got}); err != nil {
						return err
					}
				}
				for what, v := range got {
					if results[c.name] == nil {
						results[c.name] = make(map[string][]float64)
					}
					results[c.name][what] = append(results[c.name][what], v)
				}
			}
		}
		if !s.lines {
			report(work, results)
		}
	}
	return nil
}

// measurement is one of one contender, as a line of JSON.
type measurement struct {
	Work   string             `json:"work"`
	Who    string             `json:"who"`
	Values map[string]float64 `json:"values"`
}

func report(work string, results map[string]map[string][]float64) {
	for _, c := range contenders {
		for _, what := range []string{"p50 µs", "p99 µs", "max µs", "calls/s", "MB/s"} {
			v := results[c.name][what]
			if len(v) == 0 {
				continue
			}
			slices.Sort(v)
			fmt.Printf("%-7s %-10s %-8s %12.1f   (%.1f to %.1f)\n", work, c.name, what, v[len(v)/2], v[0], v[len(v)-1])
		}
	}
}
