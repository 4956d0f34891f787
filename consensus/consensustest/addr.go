package consensustest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// FreeAddr returns a TCP address of loopback that nobody listens on, and that stays
// free while nobody does, between two lives of a process too: its host is one of the
// sixteen million of 127.0.0.0/8, so that two tests at once hardly have the same, and
// its port is below those from which the kernel takes one for who connects.
func FreeAddr(t testing.TB) string {
	t.Helper()
	var err error
	for range 100 {
		host := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprintf("%s:%d", host, 10_000+rand.IntN(20_000))); err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no address of 100 is free: ", err)
	return ""
}
