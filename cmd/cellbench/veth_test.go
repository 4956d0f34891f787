package main

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cell-runtime/cell/cmd/cellbench/internal/netbench"
	"github.com/cell-runtime/cell/cmd/cellbench/internal/report"
)

func TestVethWrongUsage(t *testing.T) {
	for _, c := range []struct{ args, says string }{
		{"veth", "rtt or stream"},
		{"veth -- fanin", "unexpected argument"},
		{"veth -- rtt --link ring", "asavie, udp"},
		{"veth -- rtt --mode fast", "auto, driver or generic"},
		{"veth -- rtt --batch 2", "calls go one by one"},
		{"veth -- stream --size 64K", "fits one datagram"},
		{"veth -- stream --rounds 0", "10 ms at least"},
		{"veth -- stream --duration 1ms", "10 ms at least"},
		{"veth -- rtt --warmup 1h", "from 0 to 1m"},
	} {
		t.Run(c.args, func(t *testing.T) {
			o := cellbench(t, strings.Fields(c.args)...)
			if o.status != exitUsage || !strings.Contains(o.stderr, c.says) {
				t.Errorf("status %d, want %d with %q\n%s%s", o.status, exitUsage, c.says, o.stdout, o.stderr)
			}
		})
	}
}

// Whether the figures are good is not a test's to say; that each contestant was
// measured is.
func TestVeth(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes network namespaces and AF_XDP sockets")
	}
	for _, c := range []struct {
		kind, links string
		want        []string
	}{
		{report.KindRTT, "all", netbench.Links()},
		{report.KindStream, "all", netbench.Links()},
		{report.KindRTT, "xdp-echo,afxdp", []string{netbench.BareEcho, netbench.LinkXDP}},
		{report.KindStream, "bare", netbench.Bare(report.KindStream)},
	} {
		t.Run(c.kind+" "+c.links, func(t *testing.T) {
			o := measuring(t, 200*time.Millisecond, "veth", "--", c.kind, "--link", c.links, "--rounds", "2", "--warmup", "1ms", "--json", "-")
			if o.status != exitOK {
				t.Fatalf("status %d\n%s%s", o.status, o.stdout, o.stderr)
			}
			rep, err := report.Read(strings.NewReader(o.stdout))
			if err != nil {
				t.Fatalf("%v\n%s", err, o.stdout)
			}
			var links []string
			for _, r := range rep.Results {
				links = append(links, r.Link)
				if r.Limit == nil || r.Count == 0 || r.Path == "" {
					t.Errorf("%s: %d counted, limit %v, path %q", r.Link, r.Count, r.Limit, r.Path)
				}
			}
			if want := append([]string{"kernel-udp"}, c.want...); !slices.Equal(links, want) {
				t.Errorf("measured %v, want %v", links, want)
			}
		})
	}
}
