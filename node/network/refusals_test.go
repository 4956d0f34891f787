package network

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestRefusalsAreCountedBySource(t *testing.T) {
	var r refusals
	now := time.Unix(1_700_000_000, 0)
	why := errors.New("unknown peer")
	r.add(now, "192.0.2.7:4000", "a connection", why)
	told := 0
	for port := range 10_000 {
		now = now.Add(time.Millisecond)
		if r.add(now, fmt.Sprintf("198.51.100.1:%d", port+1), "a connection", why) {
			told++
		}
	}
	if told > 11 {
		t.Errorf("one host that is refused from 10,000 ports in ten seconds is told of %d times", told)
	}
	if len(r.last) != 2 || r.last[0].Who != "192.0.2.7:4000" || r.last[1].Times != 10_000 {
		t.Errorf("remembered: %+v", r.last)
	}
	if want := "unknown peer (10000 times)"; r.last[1].words() != want {
		t.Errorf("%q, not %q", r.last[1].words(), want)
	}
}

func TestRefusalsOfManySourcesAreBounded(t *testing.T) {
	var r refusals
	now := time.Unix(1_700_000_000, 0)
	told := 0
	for i := range 20_000 { // in ten seconds
		now = now.Add(500 * time.Microsecond)
		if r.add(now, fmt.Sprintf("[2001:db8:%x:%x::1]:1", i>>8, i&0xff), "a connection", errors.New("unknown peer")) {
			told++
		}
	}
	if most := refusalsBurst + 10*refusalsRate; told > most || told < refusalsBurst {
		t.Errorf("told of %d times, not %d to %d", told, refusalsBurst, most)
	}
	if len(r.last) != refusalsKept {
		t.Errorf("%d are remembered", len(r.last))
	}
}

func TestSources(t *testing.T) {
	for who, want := range map[string]string{
		"192.0.2.1:1":              "192.0.2.1",
		"[::ffff:192.0.2.1]:65535": "192.0.2.1",
		"[2001:db8::1:2:3:4]:9":    "2001:db8::/64",
		"[fe80::1%eth0]:9":         "fe80::/64",
		"cell1abcd":                "cell1abcd",
		"cellar.example.com:12356": "cellar.example.com:12356",
	} {
		if got := sourceOf(who); got != want {
			t.Errorf("%s: %s, not %s", who, got, want)
		}
	}
}
