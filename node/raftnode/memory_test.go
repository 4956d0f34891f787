//go:build !nodragonboat && !s390x

package raftnode

import "testing"

func TestMemoryIsGivenBackByWhoIsIdle(t *testing.T) {
	const mib = 1 << 20
	before := heap{allocated: 1000 * mib}
	for name, c := range map[string]struct {
		now  heap
		want bool
	}{
		"idle, with as much again as it needs":     {heap{allocated: 1010 * mib, live: 130 * mib, held: 260 * mib}, true},
		"idle, with little beside what it needs":   {heap{allocated: 1010 * mib, live: 130 * mib, held: 160 * mib}, false},
		"busy":                                     {heap{allocated: 1100 * mib, live: 130 * mib, held: 260 * mib}, false},
		"small: a collection wouldn't be worth it": {heap{allocated: 1000 * mib, live: 8 * mib, held: 20 * mib}, false},
	} {
		if got := c.now.spares(before); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if h := readHeap(); h.allocated == 0 || h.held == 0 {
		t.Errorf("Go says %+v of its memory: its metrics have other names", h)
	}
}
