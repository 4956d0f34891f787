package report

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
)

func TestHgrmHasTheTimes(t *testing.T) {
	var b bytes.Buffer
	if err := WriteHgrm(&b, upTo(1000, 10)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Percentile", "Total count    =         1000", "0.500000          500"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
}

func TestHgrmOfExtremes(t *testing.T) {
	for name, d := range map[string]Distribution{
		"zero":            {Values: []float64{0}, Counts: []uint64{1}},
		"below the grain": {Values: []float64{0.2}, Counts: []uint64{3}},
		"above an hour":   {Values: []float64{1, 1e18}, Counts: []uint64{1, 1}},
		"counts of zero":  {Values: []float64{1, 2, 3}, Counts: []uint64{0, 5, 0}},
	} {
		if err := WriteHgrm(new(bytes.Buffer), d); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, c := range map[string]struct {
		d    Distribution
		want error
	}{
		"nothing":          {Distribution{}, ErrNoTimes},
		"no distribution":  {Distribution{Values: []float64{1}}, ErrDistribution},
		"a count too high": {Distribution{Values: []float64{1}, Counts: []uint64{math.MaxUint64}}, ErrDistribution},
	} {
		if err := WriteHgrm(new(bytes.Buffer), c.d); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}
