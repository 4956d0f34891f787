package afxdp

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cell-runtime/cell/afxdp/xsk"
	"github.com/cell-runtime/cell/sched"
)

func TestProbeInterfaces(t *testing.T) {
	for _, c := range []struct {
		name     string
		files    map[string]string
		severity sched.Severity
		says     string
	}{
		{"a NIC as distributions set it up", map[string]string{"device/x": "", "napi_defer_hard_irqs": "0", "gro_flush_timeout": "0"}, sched.Info, "gains little"},
		{"a NIC that was prepared", map[string]string{"device/x": "", "napi_defer_hard_irqs": "2", "gro_flush_timeout": "200000"}, sched.Info, "200 µs"},
		{"half of it", map[string]string{"device/x": "", "napi_defer_hard_irqs": "2", "gro_flush_timeout": "0"}, sched.Warning, "one without the other"},
		{"veth", map[string]string{"napi_defer_hard_irqs": "0", "gro_flush_timeout": "0"}, sched.OK, "defers nothing"},
		{"veth that defers", map[string]string{"napi_defer_hard_irqs": "1", "gro_flush_timeout": "20000"}, sched.Problem, "217 µs"},
		{"an old kernel", map[string]string{}, sched.OK, "defers nothing"},
		{"nonsense", map[string]string{"napi_defer_hard_irqs": "many"}, sched.OK, "defers nothing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			sys := fstest.MapFS{"eth7/type": {Data: []byte("1\n")}, "eth7/flags": {Data: []byte("0x1003\n")},
				"lo/type": {Data: []byte("772\n")}, "lo/flags": {Data: []byte("0x9\n")}, "eth8/type": {Data: []byte("1\n")}, "eth8/flags": {Data: []byte("0x1002\n")}}
			for name, s := range c.files {
				sys["eth7/"+name] = &fstest.MapFile{Data: []byte(s + "\n")}
			}
			all := interfaces(sys)
			if len(all) != 1 || all[0].name != "eth7" {
				t.Fatalf("%v", all)
			}
			found := all[0].findings()
			if len(found) != 1 {
				t.Fatalf("%v", found)
			}
			if f := found[0]; f.ID != "xdp.busypoll.eth7" || f.Severity != c.severity || !strings.Contains(f.What, c.says) || f.Severity > sched.Info && f.Fix == "" {
				t.Errorf("%v", f)
			}
		})
	}
}

func TestProbeKernel(t *testing.T) {
	for release, lacks := range map[string]string{
		"6.18.2-cloud": "", "6.8.0": "", "10.0": "", "6.6.1": "checksums", "6.1.0-28-amd64": "beyond a page", "5.9.3": "share", "4.19": "need-wakeup", "what": "can't be told",
	} {
		f := probeKernel(release)
		if f.Severity == sched.OK != (lacks == "") || !strings.Contains(f.What, lacks) {
			t.Errorf("%s: %v", release, f)
		}
	}
}

func TestProbe(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Probe() {
		if f.ID == "" || f.What == "" || f.Evidence == "" || seen[f.ID] {
			t.Errorf("%+v", f)
		}
		seen[f.ID] = true
	}
	for _, id := range []string{"xdp.socket", "xdp.program", "xdp.kernel", "xdp.memlock", "xdp.jit"} {
		if !seen[id] {
			t.Errorf("nothing about %s", id)
		}
	}
}

func TestWhatADriverOffers(t *testing.T) {
	for _, v := range []struct {
		f    xsk.Features
		want string
	}{
		{xsk.Features{}, ""},
		{xsk.Features{TxChecksum: true}, "checksums of what is sent"},
		{xsk.Features{RxTime: true, MultiBuffer: true, RxHash: true}, "times of arrival, packets beyond a page"},
	} {
		if got := offered(&v.f); got != v.want {
			t.Errorf("%+v: %q, want %q", v.f, got, v.want)
		}
	}
}
