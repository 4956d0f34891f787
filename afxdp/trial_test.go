package afxdp_test

import (
	"strings"
	"testing"

	"github.com/cell-runtime/cell/afxdp"
	"github.com/cell-runtime/cell/afxdp/netlab"
	"github.com/cell-runtime/cell/ebpf"
)

// What was measured decides, and is said; where it could not be, as on a host that
// is too busy, the rule does.
func TestTheModeIsMeasured(t *testing.T) {
	l := lab(t, netlab.Options{})
	o := required(faultOptions, ebpf.ModeAuto)
	o.XDP.Measure, o.XDP.Peers = true, 1
	a, b := between(t, l, false, 0, afxdp.Dial, afxdp.Dial, o, o)
	defer b.Close()
	defer a.Close()
	for _, c := range []*afxdp.Conn{a, b} {
		r, _, err := c.XDP()
		must(t, err)
		why := strings.Join(c.Info().Why, " ")
		t.Log(why)
		want := "The driver's mode, measured"
		if r.Generic {
			want = "Generic mode, behind the driver"
		}
		if !strings.Contains(why, want) || !strings.Contains(why, "measured at the start") && !strings.Contains(why, "could not tell") {
			t.Errorf("generic %t: %q", r.Generic, why)
		}
	}
	pass(t, a, b, 50, 100, nil)
}
