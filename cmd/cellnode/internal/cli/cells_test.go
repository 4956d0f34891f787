package cli

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/gdamore/tcell/v2"
)

// TestCommandsOnACell runs each command that looks at cells against a living
// one.
func TestCommandsOnACell(t *testing.T) {
	h := serve(t)
	h.abandon(t, "gone")
	for name, tc := range map[string]struct {
		args string
		code int
		out  string // what it must contain
		err  string // what complaints must contain
	}{
		"ls where there is nothing": {"ls --runtime-dir /nonexistent", 1, "", "/nonexistent: no such file"},
		"ls":                        {"ls", 0, "numbers  serving", ""},
		"ls shows the dead":         {"ls", 0, "gone     dead", ""},
		"ls, for programs":          {"ls -o json", 0, `"services": [` + "\n      \"Numbers\"", ""},
		"describe":                  {"describe numbers", 0, "call Double(Number) Number", ""},
		"describe has fingerprints": {"describe numbers", 0, "Numbers.Ticks    topic", ""},
		"describe, for programs":    {"describe numbers -o json", 0, `"description": "cell 1`, ""},
		"describe nobody":           {"describe nobody", 1, "", "there are [gone numbers]"},
		"describe a wrong name":     {"describe ../x", 2, "", "bad name"},
		"call":                      {`call numbers.Double {"Value":21}`, 0, `{"Value":42}`, ""},
		"call with the service":     {`call numbers.Numbers.Double {"Value":21}`, 0, `{"Value":42}`, ""},
		"call without a request":    {`call numbers.Double`, 0, `{"Value":0}`, ""},
		"call fails by its status":  {`call numbers.Double {"Value":-1}`, 64 + 11, "", "-1 is below 0"},
		"call a stream":             {`call numbers.Count {"Value":2}`, 0, "{\"Value\":0}\n{\"Value\":1}\n{\"Value\":2}\n", ""},
		"call what sends":           {`call numbers.Note {"Value":7}`, 0, "", ""},
		"call with no field":        {`call numbers.Double {"Valeu":1}`, 2, "", "Valeu"},
		"call with no JSON":         {`call numbers.Double 21`, 2, "", "the request of Numbers.Double"},
		"call no method":            {`call numbers.Triple`, 2, "", "but Numbers.Double, Numbers.Count"},
		"call no path":              {`call numbers`, 2, "", "not NAME.Method"},
		"call nobody":               {`call nobody.Double`, 1, "", "nobody listens"},
		"call a topic":              {`call numbers.Ticks`, 2, "", "cellnode echo"},
		"echo":                      {"echo numbers.Ticks -n 2", 0, "{\"Value\":", ""},
		"echo, for programs":        {"echo numbers.Ticks -n 2 -o json", 0, `{"event":{"Value":`, ""},
		"echo no topic":             {"echo numbers.Double", 2, "", "is no topic but unary"},
		"hz":                        {"hz numbers.Ticks --every 50ms --duration 120ms", 0, "events/s", ""},
		"hz, an end before a tick":  {"hz numbers.Ticks --every 1h --duration 60ms", 0, "events/s", ""},
		"hz of nothing":             {"hz numbers.Ticks --every 0s", 2, "", "--every"},
		"path":                      {"path numbers", 0, "nothing better exists", ""},
		"path, for programs":        {"path numbers -o json", 0, `"zero_copy": true`, ""},
		"health of one":             {"health numbers", 0, "serving", ""},
		"health of all":             {"health", 1, "gone     dead", ""},
		"versions":                  {"versions numbers", 0, "Numbers.Double", ""},
		"versions, for programs":    {"versions numbers -o json", 0, `"accepts": []`, ""},
		"stat":                      {"stat", 0, "cell_rpc_server_calls{method=Numbers.Double}", ""},
		"stat of one":               {"stat numbers --json", 0, `"process": "numbers"`, ""},
		"stat of another":           {"stat other --json", 0, "[]", ""},
		"stat twice":                {"stat --every 10ms -n 2", 0, "PROCESS", ""},
		"stat of a wrong name":      {"stat /", 2, "", "bad name"},
		"top without a terminal":    {"top", 1, "", "no terminal"},
		"top for programs":          {"top -o json", 2, "", "stat --json"},
		"top too often":             {"top --every 1ms", 2, "", "--every is"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, complaints := h.run(t, strings.Fields(tc.args)...)
			if code != tc.code || !strings.Contains(out, tc.out) || !strings.Contains(complaints, tc.err) || tc.err == "" && complaints != "" {
				t.Errorf("code %d, wanted %d\nprinted: %s\nwanted: %q\ncomplaints: %s\nwanted: %q", code, tc.code, out, tc.out, complaints, tc.err)
			}
			if code == 0 && strings.HasSuffix(tc.args, "json") && !strings.HasPrefix(tc.args, "echo") {
				fitForPrograms(t, out)
			}
		})
	}
	select {
	case v := <-h.notes:
		if v != 7 {
			t.Errorf("the note was %d", v)
		}
	case <-time.After(10 * time.Second):
		t.Error("the note did not arrive")
	}
}

func TestCallReadsStandardInput(t *testing.T) {
	h := serve(t)
	for name, tc := range map[string]struct {
		args []string
		in   string
		code int
		out  string
	}{
		"a request":           {[]string{"numbers.Double", "-"}, `{"Value": 4}`, 0, "{\"Value\":8}\n"},
		"a stream up":         {[]string{"numbers.Sum"}, "{\"Value\":1}\n\n{\"Value\":2}\n", 0, "{\"Value\":3}\n"},
		"an empty stream":     {[]string{"numbers.Sum"}, "", 0, "{\"Value\":0}\n"},
		"streams both ways":   {[]string{"numbers.Squares"}, "{\"Value\":3}\n", 0, "{\"Value\":9}\n{\"Value\":1}\n"},
		"an item that's none": {[]string{"numbers.Sum"}, "{\"Value\":1}\nx\n", 2, ""},
		"none, both ways":     {[]string{"numbers.Squares"}, "x\n", 2, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var out, complaints bytes.Buffer
			code := Run(t.Context(), append([]string{"--runtime-dir", h.dir, "call"}, tc.args...), &Env{In: strings.NewReader(tc.in), Out: &out, Err: &complaints})
			if code != tc.code || out.String() != tc.out {
				t.Errorf("code %d, wanted %d: %s%s", code, tc.code, &out, &complaints)
			}
		})
	}
}

func TestEchoEndsWhenInterrupted(t *testing.T) {
	h := serve(t)
	ctx, cancel := context.WithCancel(t.Context())
	out := &watchedBuffer{when: func(s string) {
		if strings.Count(s, "\n") >= 3 {
			cancel()
		}
	}}
	var complaints bytes.Buffer
	if code := Run(ctx, []string{"--runtime-dir", h.dir, "echo", "numbers.Ticks"}, &Env{Out: out, Err: &complaints}); code != 0 {
		t.Errorf("code %d: %s", code, &complaints)
	}
}

// watchedBuffer calls when with all that was written so far.
type watchedBuffer struct {
	bytes.Buffer
	when func(string)
}

func (b *watchedBuffer) Write(p []byte) (int, error) {
	n, err := b.Buffer.Write(p)
	b.when(b.String())
	return n, err
}

func TestDraining(t *testing.T) {
	h := serve(t)
	if err := h.server.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := h.run(t, "health", "numbers"); code != 1 || !strings.Contains(out, "draining") {
		t.Errorf("code %d: %s", code, out)
	}
}

func TestCompletionOfNames(t *testing.T) {
	h := serve(t)
	for args, want := range map[string]string{
		"describe": "numbers\n", "call": "numbers.Double\n", "echo": "numbers.Ticks\n",
	} {
		if _, out, _ := h.run(t, "__complete", "--runtime-dir", h.dir, args, ""); !strings.Contains(out, want) {
			t.Errorf("%s completes to %q", args, out)
		}
	}
}

// TestTop runs top on a simulated terminal against a living cell.
func TestTop(t *testing.T) {
	h := serve(t)
	h.run(t, "call", "numbers.Double", `{"Value":1}`)
	screen := tcell.NewSimulationScreen("UTF-8")
	ended := make(chan error, 1)
	go func() { ended <- watchScreen(t.Context(), &Env{Dir: h.dir}, screen, minEvery) }()
	shows := func(want string) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if strings.Contains(screenText(screen), want) {
				return
			}
		}
		t.Errorf("the screen does not show %q:\n%s", want, screenText(screen))
	}
	shows("Numbers.Double")
	screen.SetSize(120, 30)
	screen.InjectKey(tcell.KeyRune, '3', 0)
	shows("VESICLES/S")
	screen.InjectKey(tcell.KeyRune, '5', 0)
	shows("cell_engine_cycles")
	for _, r := range "/links" {
		screen.InjectKey(tcell.KeyRune, r, 0)
	}
	shows("only lines with: links_")
	screen.InjectKey(tcell.KeyEnter, 0, 0)
	shows("cell_engine_hot_links")
	screen.InjectKey(tcell.KeyRune, '?', 0)
	shows("look more often")
	screen.InjectKey(tcell.KeyRune, 'q', 0)
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Error("q did not end it")
	}
}

func screenText(s tcell.SimulationScreen) string {
	cells, width, _ := s.GetContents()
	var text strings.Builder
	for i, c := range cells {
		if i > 0 && width > 0 && i%width == 0 {
			text.WriteByte('\n')
		}
		text.WriteString(string(c.Runes))
	}
	return text.String()
}
