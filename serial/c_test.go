package serial

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cell-runtime/cell/serial/serialtest"
	"github.com/cell-runtime/cell/wire"
)

// oracle is firmware/cell.h as a program on this host.
type oracle struct {
	t   testing.TB
	in  io.Writer
	out *bufio.Reader
}

// newOracle builds firmware/test/oracle.c, with sanitizers where the compiler
// has them, and starts it.
func newOracle(t testing.TB) *oracle {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("gcc is not installed (Debian: gcc, libc6-dev), so the C implementation can't be built")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	program := filepath.Join(t.TempDir(), "oracle")
	flags := []string{"-std=c99", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-o", program, "../firmware/test/oracle.c"}
	sanitizers := []string{"-fsanitize=address,undefined", "-fno-sanitize-recover"}
	if out, err := exec.CommandContext(ctx, "gcc", append(sanitizers, flags...)...).CombinedOutput(); err != nil {
		t.Logf("without sanitizers: %v\n%s", err, out)
		if out, err := exec.CommandContext(ctx, "gcc", flags...).CombinedOutput(); err != nil {
			t.Fatalf("gcc: %v\n%s", err, out)
		}
	}
	cmd := exec.Command(program)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		watchdog := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
		defer watchdog.Stop()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the C program ended with %v", err)
		}
	})
	return &oracle{t: t, in: in, out: bufio.NewReaderSize(out, 1<<20)}
}

// ask gives a command and returns the answer.
func (o *oracle) ask(format string, args ...any) string {
	o.t.Helper()
	if _, err := fmt.Fprintf(o.in, format+"\n", args...); err != nil {
		o.t.Fatal(err)
	}
	answer, err := o.out.ReadString('\n')
	if err != nil {
		o.t.Fatalf("the C program ended at "+format, args...)
	}
	return strings.TrimSpace(answer)
}

func (o *oracle) encode(h *wire.Header, payload string) string {
	if payload == "" {
		payload = "-"
	}
	return o.ask("encode %d %d %d %d %016x %d %s", h.Kind, h.Flags, h.Channel, h.Hops, h.Fingerprint, h.Correlation, payload)
}

func (o *oracle) decode(line []byte) string {
	text := hex.EncodeToString(line)
	if text == "" {
		text = "-"
	}
	return strings.TrimSuffix(o.ask("decode %d %s", maxHeader+goldenMax+crc32Size, text), ";")
}

func TestCAgreesOnTheVectors(t *testing.T) {
	o := newOracle(t)
	g := loadGolden(t)
	for _, v := range g.Frames {
		h := v.header()
		if got := o.encode(&h, v.Payload); got != v.Bytes {
			t.Errorf("%s: C encodes\n%s, want\n%s", v.Name, got, v.Bytes)
		}
		if got, want := o.decode(unhex(t, v.Bytes)), describe(&h, unhex(t, v.Payload)); got != want {
			t.Errorf("%s: C decodes\n%s, want\n%s", v.Name, got, want)
		}
	}
	for _, v := range g.Own {
		if got := o.decode(unhex(t, v.Bytes)); got != "own "+v.Body {
			t.Errorf("%s: C decodes %s", v.Name, got)
		}
	}
	for _, v := range g.Lines {
		if got, want := o.decode(unhex(t, v.Bytes)), strings.Join(v.Want, "; "); got != want {
			t.Errorf("%s: C makes of it\n%s, want\n%s", v.Name, got, want)
		}
	}
}

// The header's own vectors, testdata/header.json, hold for C as well.
func TestCAgreesOnHeaders(t *testing.T) {
	text, err := os.ReadFile("../testdata/header.json")
	if err != nil {
		t.Fatal(err)
	}
	var g struct {
		Headers, InvalidHeaders []struct {
			Name, Bytes, Reason string
		}
		Invalid []struct{ Name, Bytes, Reason string } `json:"invalid_headers"`
	}
	if err := json.Unmarshal(text, &g); err != nil {
		t.Fatal(err)
	}
	if len(g.Headers) == 0 || len(g.Invalid) == 0 {
		t.Fatal("testdata/header.json has no headers")
	}
	o := newOracle(t)
	for _, v := range g.Headers {
		h, err := wire.Decode(unhex(t, v.Bytes))
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("ok %d %d %d %d %d %016x %d %s", h.Length, h.Kind, h.Flags, h.Channel, h.Hops, h.Fingerprint, h.Correlation, v.Bytes)
		if got := o.ask("header %s", v.Bytes); got != want {
			t.Errorf("%s: C says %s, want %s", v.Name, got, want)
		}
	}
	for _, v := range g.Invalid {
		if len(v.Bytes) != 2*wire.HeaderSize {
			continue // cell_header_get is given 20 bytes
		}
		if got := o.ask("header %s", v.Bytes); got != v.Reason {
			t.Errorf("%s: C says %q, want %s", v.Name, got, v.Reason)
		}
	}
}

// Both implementations make the same of thousands of frames that went through
// noise, and of noise alone.
func TestCAgreesOnNoise(t *testing.T) {
	o := newOracle(t)
	rng := rand.New(rand.NewPCG(21, 22))
	noise := serialtest.NewNoise(serialtest.Every(4e-3), 23)
	seen := map[string]int{}
	for range 3000 {
		var clean []byte
		for range 1 + rng.IntN(4) {
			h := wire.Header{
				Kind: wire.Kind(1 + rng.IntN(8)), Fingerprint: rng.Uint64() >> rng.IntN(64), Correlation: rng.Uint32() >> rng.IntN(32),
				Hops: uint8(16 - rng.IntN(2)), Channel: wire.Channel(rng.IntN(4) * rng.IntN(2)),
			}
			payload := make([]byte, rng.IntN(400))
			for i := range payload {
				payload[i] = byte(rng.IntN(256) * rng.IntN(2))
			}
			frame, err := AppendFrame(nil, h, payload)
			if err != nil {
				t.Fatal(err)
			}
			if got := o.encode(&h, hex.EncodeToString(payload)); got != hex.EncodeToString(frame) {
				t.Fatalf("C encodes\n%s, Go\n%x", got, frame)
			}
			clean = append(clean, frame...)
		}
		line := append(noise.Append(nil, clean), delimiter)
		if rng.IntN(10) == 0 {
			for i := range line {
				line[i] = byte(rng.Uint32())
			}
		}
		want := outcomes(line)
		for _, w := range want {
			seen[strings.Fields(w)[0]]++
		}
		if got := o.decode(line); got != strings.Join(want, "; ") {
			t.Fatalf("of %x\nC makes\n%s, Go\n%q", line, got, want)
		}
		agree(t, "noise", want, line)
	}
	for _, reason := range []string{"vesicle", "ErrCOBS", "ErrCRC"} {
		if seen[reason] < 100 {
			t.Errorf("%s came only %d times: %v", reason, seen[reason], seen)
		}
	}
}
