package network

import (
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/sched"
)

func TestProbes(t *testing.T) {
	keeper, byToken := filepath.Join(t.TempDir(), "keeper"), filepath.Join(t.TempDir(), "token")
	token, err := identity.IssueToken(keeper, time.Now(), time.Hour, 0, "")
	must(t, err)
	_, err = identity.Join(byToken, token, time.Now())
	must(t, err)
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	defer taken.Close()
	lo := net.Interface{Name: "lo", Flags: net.FlagUp | net.FlagLoopback | net.FlagMulticast}
	eth := net.Interface{Name: "eth0", Flags: net.FlagUp | net.FlagMulticast | net.FlagBroadcast}
	tun := net.Interface{Name: "tun0", Flags: net.FlagUp | net.FlagPointToPoint}
	with := func(change func(*config.Network)) config.Network {
		c := config.Default().Network
		change(&c)
		return c
	}
	at := func(dir string) config.Network { return with(func(c *config.Network) { c.Identity = dir }) }
	clock := func(state int, status int32, err error) sched.Finding {
		return probeClock(func(t *unix.Timex) (int, error) { t.Status = status; return state, err })
	}
	for name, c := range map[string]struct {
		found sched.Finding
		want  sched.Severity
		words string
	}{
		"of the cluster's keeper":    {probeMember(at(keeper), time.Now()), sched.OK, "is a member for"},
		"by a token":                 {probeMember(at(byToken), time.Now()), sched.Info, "by a token"},
		"expired":                    {probeMember(at(byToken), time.Now().Add(2*time.Hour)), sched.Problem, "has ended"},
		"of nobody":                  {probeMember(at(t.TempDir()), time.Now()), sched.Info, "meets nobody"},
		"of nobody, and it must":     {probeMember(with(func(c *config.Network) { c.Identity, c.Mode = t.TempDir(), "on" }), time.Now()), sched.Problem, "meets nobody"},
		"an interface":               {probeInterfaces(at(""), []net.Interface{lo, eth, tun}, nil), sched.OK, "found on eth0"},
		"none but loopback":          {probeInterfaces(at(""), []net.Interface{lo, tun}, nil), sched.Warning, "no interface"},
		"seeds instead":              {probeInterfaces(with(func(c *config.Network) { c.Seeds = []string{"a:1"} }), []net.Interface{lo}, nil), sched.OK, "network.seeds"},
		"not the one that is named":  {probeInterfaces(with(func(c *config.Network) { c.Interfaces = []string{"eth9"} }), []net.Interface{eth}, nil), sched.Warning, "no interface"},
		"interfaces can't be listed": {probeInterfaces(at(""), nil, errors.New("broken")), sched.Info, "unknown"},
		"a port that is taken":       {probePort(with(func(c *config.Network) { c.Listen = taken.LocalAddr().String() })), sched.Info, "taken"},
		"a port that is free":        {probePort(with(func(c *config.Network) { c.Listen = "127.0.0.1:0" })), sched.OK, "free"},
		"another host's address":     {probePort(with(func(c *config.Network) { c.Listen = "192.0.2.1:5" })), sched.Problem, "can't be had"},
		"a clock that is kept right": {clock(unix.TIME_OK, 0, nil), sched.OK, "kept right"},
		"a clock that is not":        {clock(unix.TIME_ERROR, unix.STA_UNSYNC, nil), sched.Warning, "60 s"},
		"a clock that is unknown":    {clock(0, 0, unix.EPERM), sched.Info, "unknown"},
	} {
		if c.found.Severity != c.want || !strings.Contains(c.found.What, c.words) {
			t.Errorf("%s: %v", name, c.found)
		}
		if c.found.Severity >= sched.Warning && c.found.Fix == "" {
			t.Errorf("%s: it does not say how to mend it", name)
		}
	}
}
