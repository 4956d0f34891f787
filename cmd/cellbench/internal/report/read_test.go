package report

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestReadRefuses(t *testing.T) {
	const head = `{"schema":"cellbench/1","kind":"rtt"`
	for _, c := range []struct {
		name, in string
		want     error
	}{
		{"nothing", "", ErrFormat},
		{"only space", " \n", ErrFormat},
		{"no JSON", "hello", ErrFormat},
		{"cut short", head, ErrFormat},
		{"two values", head + "}{}", ErrFormat},
		{"a list", "[]", ErrFormat},
		{"null", "null", ErrFormat},
		{"no schema", `{"kind":"rtt"}`, ErrFormat},
		{"a later schema", `{"schema":"cellbench/2"}`, ErrSchema},
		{"no kind", `{"schema":"cellbench/1"}`, ErrSetting},
		{"results of another type", `{"schema":"cellbench/1","results":7}`, ErrFormat},
		{"a number as text", head + `,"count":"5"}`, ErrFormat},
		{"a number too large", head + `,"msgs_per_s":1e999}`, ErrFormat},
		{"a negative rate of messages", head + `,"msgs_per_s":-1}`, ErrFigures},
		{"a negative size", head + `,"size":-1}`, ErrSetting},
		{"a wild rate", head + `,"rate":"fast"}`, ErrRate},
		{"falling percentiles", head + `,"ns":{"min":5,"p50":4,"max":9}}`, ErrFigures},
		{"max below min", head + `,"ns":{"min":5,"max":4}}`, ErrFigures},
		{"a curve that goes back", head + `,"percentiles":[{"q":0.5,"ns":1},{"q":0.4,"ns":2}]}`, ErrFigures},
		{"a quantile of one", head + `,"percentiles":[{"q":1,"ns":1}]}`, ErrFigures},
		{"a point outside of its band", head + `,"percentiles":[{"q":0,"ns":1,"low":2,"high":3}]}`, ErrFigures},
		{"an impossible limit", head + `,"limit":{"kind":"limit","msgs_per_s":-5}}`, ErrFigures},
		{"a spread inside out", head + `,"spread":{"rounds":2,"p50":{"median":1,"min":2,"max":3}}}`, ErrFigures},
		{"a spread over nothing", head + `,"spread":{"rounds":0}}`, ErrFigures},
		{"a negative share lost", head + `,"jitter":{"lost_share":-1}}`, ErrFigures},
		{"too many results", `{"schema":"cellbench/1","results":[{}` + strings.Repeat(",{}", MaxResults) + `]}`, ErrTooBig},
	} {
		if _, err := Read(strings.NewReader(c.in)); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
}

func TestReadStopsAtItsBound(t *testing.T) {
	endless := io.MultiReader(strings.NewReader(`{"schema":"`), zeros{})
	if _, err := Read(endless); !errors.Is(err, ErrTooBig) {
		t.Errorf("got %v, want ErrTooBig", err)
	}
}

// zeros is a reader without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

func TestReadAcceptsWhatALaterVersionAdds(t *testing.T) {
	rep, err := Read(strings.NewReader(`{"schema":"cellbench/1","kind":"rtt","loop":"closed","new_field":{"x":1},"host":{"kernel":"k"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if r := rep.Results[0]; r.Batch != 1 || r.Host.Kernel != "k" || r.Rate != MaxRate {
		t.Errorf("got %+v", r)
	}
}

func TestReadGivesEachResultAHost(t *testing.T) {
	rep, err := Read(strings.NewReader(`{"schema":"cellbench/1","host":{"kernel":"k"},"results":[
		{"kind":"rtt"},{"kind":"rtt","host":{"kernel":"other"}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if a, b := rep.Results[0].Host, rep.Results[1].Host; a == nil || a.Kernel != "k" || b.Kernel != "other" {
		t.Errorf("hosts %+v and %+v", a, b)
	}
}

func TestReadReportsTheReadersError(t *testing.T) {
	broken := errors.New("broken pipe")
	if _, err := Read(io.MultiReader(strings.NewReader("{"), errReader{broken})); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

type errReader struct{ err error }

func (e errReader) Read([]byte) (int, error) { return 0, e.err }

// FuzzRead: whatever Read accepts can be shown in every form and survives a
// round trip.
func FuzzRead(f *testing.F) {
	// Seeds are small: the fuzzer spends its time on shrinking large ones.
	f.Add([]byte(`{"schema":"cellbench/1","kind":"rtt","link":"ring","rate":5,"loop":"open","ns":{"min":1,"p50":2,"max":3},"percentiles":[{"q":0.5,"ns":2,"low":1,"high":3}],"limit":{"kind":"limit","ns":{"max":1},"percentiles":[{"q":0,"ns":1}]},"ratio_p50":2}`))
	f.Add([]byte(`{"schema":"cellbench/1","host":{"cpu":"c","cpus":[1]},"results":[{"kind":"stream","size":1024,"bytes_per_s":9,"spread":{"rounds":2,"bytes_per_s":{"median":2,"min":1,"max":3}}},{"kind":"jitter","jitter":{"gaps_per_s":1}}]}`))
	f.Add([]byte(`{"schema":"cellbench/1","kind":"rtt","ns":{"min":0,"max":0},"percentiles":[{"q":0,"ns":0}]}`))
	f.Add([]byte(`{"schema":"cellbench/1","results":[{"kind":"stream","link":"\u202e","msgs_per_s":0,"spread":{"rounds":1}}]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		rep, err := Read(bytes.NewReader(in))
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := WriteReport(&b, rep); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(&b); err != nil {
			t.Fatalf("what was read can't be read back: %v", err)
		}
		for _, width := range []int{0, 40} {
			if err := WriteTable(io.Discard, rep.Results, Style{Width: width}); err != nil {
				t.Fatal(err)
			}
		}
		b.Reset()
		if err := WriteHTML(&b, rep); err != nil {
			t.Fatal(err)
		}
		checkPage(t, b.String())
		if c, err := Compare(rep.Results, rep.Results, true); err == nil {
			if err := c.WriteText(io.Discard, Style{Width: 60}); err != nil {
				t.Fatal(err)
			}
			if err := c.WriteJSON(io.Discard); err != nil {
				t.Fatal(err)
			}
		}
	})
}
