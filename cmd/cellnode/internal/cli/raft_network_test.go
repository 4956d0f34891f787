//go:build !nodragonboat && !s390x

package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Three hosts, one token, and nobody is told where the others are: they find
// each other, and form a cluster.
func TestNodesThatFindEachOtherFormACluster(t *testing.T) {
	s := newStreet(t, 3)
	var all []*house
	for i := range 3 {
		h := s.add(fmt.Sprint("n", i))
		all = append(all, h)
	}
	for i, h := range all {
		h.start(s.token, "--raft", fmt.Sprintf("%s:4747", s.lab.Hosts[i].V4))
	}
	for _, h := range all {
		for end := time.Now().Add(3 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
			code, out, complaint := h.run(t, "raft", "status")
			if code == 0 && strings.Contains(out, "in cluster") && strings.Count(out, "answers") == 3 {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%s: %d %s%s", h.name, code, out, complaint)
			}
		}
	}
}
