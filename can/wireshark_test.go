package can

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cell-runtime/cell/wire"
)

const (
	dissector = "../dist/wireshark/cell_can.lua"
)

// traceMark stands before the lines that candump printed in a virtual machine,
// in which a node sent another one so many requests.
const (
	traceMark = "candump: "
	traced    = 5
)

// candumpTrace returns what candump printed in a machine with that output.
func candumpTrace(output string) string {
	var b strings.Builder
	for line := range strings.Lines(output) {
		if line, ok := strings.CutPrefix(line, traceMark); ok {
			b.WriteString(line)
		}
	}
	return b.String()
}

// checkTrace has the dissector read what candump wrote of real frames on a
// kernel's bus: the requests that were sent must come out of it.
func checkTrace(t *testing.T, output string) {
	log := candumpTrace(output)
	if log == "" {
		t.Fatal("candump printed nothing in the machine: is can-utils installed here? (apt-get install can-utils)")
	}
	trace := filepath.Join(t.TempDir(), "trace.log")
	if err := os.WriteFile(trace, []byte(log), 0o644); err != nil {
		t.Fatal(err)
	}
	got := decodeTrace(t, trace, "cell_can.class", "cell_can.from", "cell_can.to", "cell_can.kind", "cell_can.fingerprint", "cell_can.payload")
	if lines := strings.Count(log, "\n"); len(got) != lines {
		t.Errorf("%d frames in the trace, %d decoded", lines, len(got))
	}
	requests, control := 0, 0
	for _, f := range got {
		if f[0] == "0" {
			control++
		}
		if f[3] != "1" || f[1] != "1" || f[2] != "2" {
			continue
		}
		if f[4] != "0x000000000000002a" || f[5] != hexOrDash(numbered(requests, 7)) {
			t.Errorf("request %d is decoded as %v", requests, f)
		}
		requests++
	}
	if requests != traced || control < 8 {
		t.Errorf("%d requests of %d and %d control frames are decoded from\n%s", requests, traced, control, log)
	}
}

// exchange is a trace of a link's life as candump -L writes it, on the model.
func exchange(t *testing.T) string {
	var b strings.Builder
	s := newSim(t, ModelConfig{FD: true}, Config{Node: 1}, Config{Node: 2, Routes: []uint64{known, 7}}, Config{Node: 9, Classic: true})
	s.seen = func(f *Frame) {
		fmt.Fprintf(&b, "(%d.%06d) can0 %v\n", f.Time/1e9, f.Time/1e3%1e6, f)
	}
	x, y := s.connect(0, 1)
	u, v := s.connect(0, 2)
	// Sessions are random; in a trace that is kept they are not.
	h := wire.Header{Fingerprint: known, Kind: wire.KindRequest}
	s.send(x, h, []byte("ping"))
	s.receive(y)
	h.Kind = wire.KindReply
	s.send(y, h, []byte("pong"))
	s.receive(x)
	h.Kind, h.Correlation = wire.KindStreamItem, 0xCAFE0001
	s.send(y, h, numbered(1, 200))
	s.receive(x)
	s.send(u, wire.Header{Fingerprint: 0xABCDEF, Kind: wire.KindEvent, Hops: 3, Channel: 2}, numbered(2, 30))
	s.receive(v)
	x.Shutdown()
	s.until("closed", func() bool { return x.stage == stageEnded })
	return b.String()
}

// decodeTrace runs tshark over a trace and returns the fields of each frame.
func decodeTrace(t *testing.T, trace string, fields ...string) [][]string {
	t.Helper()
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is not installed: apt-get install tshark")
	}
	args := []string{"-X", "lua_script:" + dissector, "-r", trace, "-T", "fields", "-E", "separator=|"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	c := exec.Command(tshark, args...)
	c.Env = append(os.Environ(), "HOME="+t.TempDir())
	var complaints strings.Builder
	c.Stderr = &complaints
	out, err := c.Output()
	if err != nil || strings.Contains(complaints.String(), "Lua") {
		t.Fatalf("tshark: %v\n%s", err, complaints.String())
	}
	var all [][]string
	for line := range strings.Lines(string(out)) {
		all = append(all, strings.Split(strings.TrimRight(line, "\n"), "|"))
	}
	return all
}

func TestDissector(t *testing.T) {
	trace := filepath.Join(t.TempDir(), "trace.log")
	log := exchange(t)
	if err := os.WriteFile(trace, []byte(log), 0o644); err != nil {
		t.Fatal(err)
	}
	got := decodeTrace(t, trace, "cell_can.class", "cell_can.op", "cell_can.from", "cell_can.to",
		"cell_can.kind", "cell_can.fingerprint", "cell_can.correlation", "cell_can.payload", "cell_can.hops", "_ws.expert.message", "_ws.col.Info")
	if lines := strings.Count(log, "\n"); len(got) != lines {
		t.Fatalf("%d frames in the trace, %d decoded", lines, len(got))
	}
	count := map[string]int{}
	for _, f := range got {
		if f[9] != "" {
			t.Errorf("%v", f)
		}
		switch f[0] {
		case "0":
			count["control "+f[1]]++
		default:
			count["data"]++
		}
		if f[7] == "" {
			continue
		}
		count["vesicles"]++
		want := map[string]string{ // by kind: fingerprint, correlation, hops, payload
			"1": "0x1122334455667788||0|" + hexOrDash([]byte("ping")),
			"2": "0x1122334455667788||0|" + hexOrDash([]byte("pong")),
			"5": "0x1122334455667788|0xcafe0001||" + hexOrDash(numbered(1, 200)),
			"4": "0x0000000000abcdef||3|" + hexOrDash(numbered(2, 30)),
		}[f[4]]
		have := strings.Join([]string{f[5], f[6], f[8], f[7]}, "|")
		if strings.ReplaceAll(have, "|0|", "||") != strings.ReplaceAll(want, "|0|", "||") {
			t.Errorf("kind %s is decoded as %s, want %s", f[4], have, want)
		}
	}
	if count["vesicles"] != 4 || count["control 0"] != 4 || count["control 1"] != 2 || count["control 2"] != 4 || count["control 5"] != 2 {
		t.Errorf("decoded %v from\n%s", count, log)
	}
}

// What is wrong in a trace is shown as that.
func TestDissectorShowsFaults(t *testing.T) {
	trace := filepath.Join(t.TempDir(), "trace.log")
	golden, err := os.ReadFile(vectorsPath)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	frames, refused := 0, 0
	for _, section := range strings.Split(string(golden), "\nbad ")[1:] {
		reason, rest, _ := strings.Cut(section, "\n")
		if !strings.Contains(reason, "CRC") {
			continue
		}
		var fs []Frame
		for line := range strings.Lines(rest) {
			x, ok := strings.CutPrefix(line, "frame ")
			if !ok {
				break // the next link
			}
			fs = append(fs, parseFrame(t, x))
		}
		if fs[0].ID.From() != fs[1].ID.From() {
			continue // two senders: a start without an end, and parts without a start
		}
		refused++
		for i := range fs {
			fmt.Fprintf(&b, "(%d.000000) can0 %v\n", frames, &fs[i])
			frames++
		}
	}
	if err := os.WriteFile(trace, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, f := range decodeTrace(t, trace, "_ws.expert.message") {
		if strings.Contains(f[0], "CRC does not fit") {
			found++
		}
	}
	if found != refused || found == 0 {
		t.Errorf("%d of %d bad CRCs were shown", found, refused)
	}
}
