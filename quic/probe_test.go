package quic

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cell-runtime/cell/sched"
)

func TestProbe(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	for _, c := range []struct {
		name string
		sys  fstest.MapFS
		want [3]sched.Severity
		fix  string
	}{
		{"a host as distributions set it up", fstest.MapFS{
			"core/rmem_max": file("212992\n"), "core/wmem_max": file("212992\n"), "ipv4/tcp_available_congestion_control": file("reno cubic\n"),
		}, [3]sched.Severity{sched.Warning, sched.Warning, sched.Info}, "sysctl -w net.core.rmem_max=7340032"},
		{"a host that was prepared", fstest.MapFS{
			"core/rmem_max": file("16777216\n"), "core/wmem_max": file("7340032\n"), "ipv4/tcp_available_congestion_control": file("reno bbr cubic\n"),
		}, [3]sched.Severity{sched.OK, sched.OK, sched.OK}, ""},
		{"nothing can be read", fstest.MapFS{}, [3]sched.Severity{sched.Info, sched.Info, sched.Info}, ""},
		{"nonsense", fstest.MapFS{"core/rmem_max": file("many")}, [3]sched.Severity{sched.Info, sched.Info, sched.Info}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for i, f := range probe(c.sys) {
				if f.Severity != c.want[i] || f.ID == "" || f.What == "" || f.Evidence == "" {
					t.Errorf("%+v", f)
				}
				if i == 0 && !strings.Contains(f.Fix, c.fix) {
					t.Errorf("fix %q", f.Fix)
				}
			}
		})
	}
	if got := Probe(); len(got) != 3 {
		t.Errorf("%v", got)
	}
}
