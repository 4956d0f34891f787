package kv

import (
	"errors"
	"testing"

	"github.com/cell-runtime/cell/wire"
)

// A hub grows as it is used, keeps the last events of all, and tells who is
// behind.
func TestTheHubKeepsTheLastEvents(t *testing.T) {
	h := newHub()
	if cursor, err := h.first(1); err != nil || cursor != 0 || h.ring != nil {
		t.Errorf("empty: %d, %v, %d events of room", cursor, err, len(h.ring))
	}
	behind, _ := h.first(0)
	revision := uint64(0)
	publish := func(n int) {
		for range n {
			revision++
			h.publish(revision, []Event{{Revision: revision}})
		}
	}
	publish(100)
	if len(h.ring) != 128 {
		t.Errorf("room for %d after 100 events", len(h.ring))
	}
	check := func(from, first uint64) {
		t.Helper()
		cursor, err := h.first(from)
		if err != nil {
			t.Fatal(err)
		}
		var into [7]Event
		for want := first; want <= revision; {
			n, after, err := h.next(t.Context(), cursor, into[:])
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range into[:n] {
				if e.Revision != want {
					t.Fatalf("revision %d, want %d", e.Revision, want)
				}
				want++
			}
			cursor = after
		}
	}
	check(1, 1)
	check(40, 40)
	publish(history)
	if len(h.ring) != history {
		t.Errorf("room for %d", len(h.ring))
	}
	check(101, 101)
	if _, err := h.first(100); !errors.Is(err, wire.StatusOutOfRange) {
		t.Errorf("what is gone: %v", err)
	}
	var into [1]Event
	if _, _, err := h.next(t.Context(), behind, into[:]); !errors.Is(err, wire.StatusAborted) {
		t.Errorf("who is behind: %v", err)
	}
	here, _ := h.first(0)
	h.reset(revision)
	if _, _, err := h.next(t.Context(), here, into[:]); !errors.Is(err, wire.StatusAborted) {
		t.Errorf("who had all before another state came: %v", err)
	}
	if _, err := h.first(revision); !errors.Is(err, wire.StatusOutOfRange) {
		t.Errorf("from before that state: %v", err)
	}
	publish(3)
	check(revision-2, revision-2)
}
