package report

import (
	"encoding/json"
	"errors"
	"testing"
)

func TestParseRate(t *testing.T) {
	for in, want := range map[string]Rate{
		"max": MaxRate, "50000": 50_000, "50K": 50_000, "1.5m": 1_500_000, "1G": 1e9, "0.5": 0.5,
	} {
		if got, err := ParseRate(in); err != nil || got != want {
			t.Errorf("%q: got %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "0", "-1", "NaN", "Inf", "1e300", "K", "fast", "1KK", "max "} {
		if got, err := ParseRate(in); !errors.Is(err, ErrRate) {
			t.Errorf("%q: got %v, %v; want ErrRate", in, got, err)
		}
	}
}

func TestRateJSON(t *testing.T) {
	for _, r := range []Rate{MaxRate, 50_000, 0.25} {
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var back Rate = -1
		if err := json.Unmarshal(b, &back); err != nil || back != r {
			t.Errorf("%v went by way of %s to %v, %v", r, b, back, err)
		}
		if parsed, err := ParseRate(r.String()); err != nil || parsed != r {
			t.Errorf("%v went by way of %s to %v, %v", r, r, parsed, err)
		}
	}
	for _, in := range []string{`"fast"`, `0`, `-3`, `[]`, `null`, `1e300`} {
		var r Rate
		if err := json.Unmarshal([]byte(in), &r); !errors.Is(err, ErrRate) {
			t.Errorf("%s: got %v, %v; want ErrRate", in, r, err)
		}
	}
	if _, err := json.Marshal(Rate(-1)); err == nil {
		t.Error("a negative rate was written")
	}
}
