package serialtest_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/cell-runtime/cell/serial/serialtest"
)

func TestFaultsComeAsOftenAsAsked(t *testing.T) {
	const n = 1_000_000
	clean := make([]byte, n)
	for i := range clean {
		clean[i] = byte(i)
	}
	for _, v := range []struct {
		name   string
		faults serialtest.Faults
		length func(got, faults int) bool
	}{
		{"flip", serialtest.Faults{Flip: 1e-3}, func(got, _ int) bool { return got == n }},
		{"drop", serialtest.Faults{Drop: 1e-3}, func(got, faults int) bool { return got == n-faults }},
		{"duplicate", serialtest.Faults{Duplicate: 1e-3}, func(got, faults int) bool { return got == n+faults }},
		{"insert", serialtest.Faults{Insert: 1e-3}, func(got, faults int) bool { return got == n+faults }},
	} {
		t.Run(v.name, func(t *testing.T) {
			noise := serialtest.NewNoise(v.faults, 1)
			var got []byte
			for rest := clean; len(rest) > 0; {
				k := min(len(rest), 777)
				got = noise.Append(got, rest[:k])
				rest = rest[k:]
			}
			faults := int(noise.Count())
			if faults < 900 || faults > 1100 || !v.length(len(got), faults) || bytes.Equal(got, clean) {
				t.Errorf("%d faults in %d bytes, %d came", faults, n, len(got))
			}
		})
	}
	if got := serialtest.NewNoise(serialtest.Faults{}, 1).Append(nil, clean); !bytes.Equal(got, clean) {
		t.Error("a line without faults changes bytes")
	}
}

func TestLineCarriesBothWaysAndEnds(t *testing.T) {
	a, x, err := serialtest.SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	b, y, err := serialtest.SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	defer b.Close()
	line := serialtest.Join(x, y, serialtest.Every(1), 1)
	line.Quiet()
	buf := make([]byte, 5)
	for _, v := range []struct {
		from io.Writer
		to   io.Reader
	}{{a, b}, {b, a}} {
		if _, err := v.from.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(v.to, buf); err != nil || string(buf) != "hello" {
			t.Fatalf("%q, %v", buf, err)
		}
	}
	line.Close()
	if _, err := a.Read(buf); err == nil {
		t.Error("the line was closed, and its end still reads")
	}
}
