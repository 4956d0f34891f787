package afxdp

import (
	"net/netip"
	"testing"
	"time"
)

func TestCookies(t *testing.T) {
	var k, other cookies
	now := time.Unix(1000, 0)
	a, b := netip.MustParseAddrPort("192.0.2.1:9"), netip.MustParseAddrPort("[2001:db8::1]:9")
	c := k.of(now, a, 7)
	for _, v := range []struct {
		name    string
		k       *cookies
		after   time.Duration
		cookie  uint64
		from    netip.AddrPort
		session uint32
		want    bool
	}{
		{"its own", &k, 0, c, a, 7, true},
		{"another number", &k, 0, c + 1, a, 7, false},
		{"none", &k, 0, 0, a, 7, false},
		{"of another address", &k, 0, c, b, 7, false},
		{"of another port", &k, 0, c, netip.AddrPortFrom(a.Addr(), 10), 7, false},
		{"of another session", &k, 0, c, a, 8, false},
		{"of another listener", &other, 0, c, a, 7, false},
		{"with the key before", &k, cookieLife, c, a, 7, true},
		{"with a key that is forgotten", &k, 2 * cookieLife, c, a, 7, false},
		{"after a long pause", &k, time.Hour, c, a, 7, false},
	} {
		if got := v.k.is(now.Add(v.after), v.cookie, v.from, v.session); got != v.want {
			t.Errorf("%s: %t", v.name, got)
		}
	}
}

// While nobody asked for long, no old key stays.
func TestCookiesAfterAPause(t *testing.T) {
	var k cookies
	now, a := time.Unix(1000, 0), netip.MustParseAddrPort("192.0.2.1:9")
	c := k.of(now, a, 7)
	if k.is(now.Add(2*cookieLife), c, a, 7) {
		t.Error("a cookie outlives its key")
	}
}
