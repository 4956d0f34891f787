package linktest

import (
	"strings"
	"testing"
)

func TestAllocations(t *testing.T) {
	var mine, others []byte
	asked, answered := make(chan struct{}), make(chan struct{})
	go func() {
		for range asked {
			others = make([]byte, 10)
			answered <- struct{}{}
		}
	}()
	defer close(asked)
	calls := 0
	for _, c := range []struct {
		name, want string
		round      func()
	}{
		{"none", "", func() { calls++ }},
		{"one in each", "1.00 allocations for each by ", func() { mine = make([]byte, 10) }},
		{"one in every other", "", func() {
			if calls++; calls%2 == 0 {
				mine = make([]byte, 10)
			}
		}},
		{"of another goroutine", "", func() {
			asked <- struct{}{}
			<-answered
		}},
		{"of both", "1.00 allocations for each by ", func() {
			asked <- struct{}{}
			<-answered
			mine = make([]byte, 10)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := allocations(100, c.round)
			if (got == "") != (c.want == "") || !strings.Contains(got, c.want) || c.want != "" && !strings.Contains(got, "TestAllocations") {
				t.Errorf("found %q, want %q and where", got, c.want)
			}
		})
	}
	_, _ = mine, others
}
