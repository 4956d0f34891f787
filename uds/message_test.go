package uds

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/cell-runtime/cell/wire"
)

func TestMessagesComeBackAsTheyWent(t *testing.T) {
	h := hello{low: 1, high: 3, path: PathRing, huge: true, ringSize: 1 << 20, maxRing: 1 << 30, maxPayload: 4096, why: "why ─ not"}
	if got, err := parseHello(h.append(nil)[prefixSize:]); err != nil || got != h {
		t.Errorf("hello: %+v, %v", got, err)
	}
	if got, err := parseHello(append(h.append(nil)[prefixSize:], "of a later version"...)); err != nil || got != h {
		t.Errorf("longer hello: %+v, %v", got, err)
	}
	for _, o := range []offer{
		{version: versionHigh, path: PathRing, must: true, ringSize: 4096, maxPayload: 64},
		{version: versionHigh, path: PathStream, maxPayload: 64, why: "no"},
	} {
		if got, err := parseOffer(o.append(nil)[prefixSize:]); err != nil || got != o {
			t.Errorf("offer: %+v, %v", got, err)
		}
	}
	a := accept{path: PathStream, why: "no"}
	if got, err := parseAccept(a.append(nil)[prefixSize:]); err != nil || got != a {
		t.Errorf("accept: %+v, %v", got, err)
	}
	s, text, err := parseRefusal(appendRefusal(nil, wire.StatusDraining, "ends\nhere")[prefixSize:])
	if s != wire.StatusDraining || text != "ends here" || err != nil {
		t.Errorf("refusal: %v %q %v", s, text, err)
	}
}

func TestMalformedMessagesAreRefused(t *testing.T) {
	good := (&hello{low: versionLow, high: versionHigh, maxRing: 4096, maxPayload: 64}).append(nil)
	offerBytes := (&offer{version: versionHigh, path: PathRing, ringSize: 4096, maxPayload: 64}).append(nil)
	acceptBytes := (&accept{path: PathRing}).append(nil)
	with := func(b []byte, at int, v ...byte) []byte {
		b = bytes.Clone(b)
		copy(b[at:], v)
		return b
	}
	for _, c := range []struct {
		name string
		msg  []byte
	}{
		{"nothing", nil},
		{"short prefix", good[:7]},
		{"other magic", with(good, 0, 'c')},
		{"kind zero", with(good, 4, 0)},
		{"kind unknown", with(good, 4, 9)},
		{"reserved byte", with(good, 5, 1)},
		{"body above the limit", with(good, 6, 1, 4)},
		{"hello without versions", with(good, 8, 0)},
		{"hello with versions reversed", with(good, 8, 2, 1)},
		{"hello with unknown path", with(good, 10, 3)},
		{"hello with unknown flag", with(good, 11, 2)},
		{"hello with ring size no power of two", with(good, 12, 1)},
		{"hello with max ring too small", with(good, 16, 0, 8)},
		{"hello with max payload zero", with(good, 20, 0)},
		{"hello with max payload huge", with(good, 20, 255, 255, 255, 255)},
		{"hello with text longer than the body", with(good, 24, 1)},
		{"hello with text above the limit", with(good, 24, 255, 255)},
		{"hello cut off", good[:20]},
		{"offer of auto", with(offerBytes, 9, 0)},
		{"offer with unknown flag", with(offerBytes, 10, 2)},
		{"offer of odd rings", with(offerBytes, 12, 1)},
		{"offer of no payload", with(offerBytes, 16, 0)},
		{"offer cut off", offerBytes[:15]},
		{"offer with bytes behind", append(bytes.Clone(offerBytes), 0)},
		{"accept of auto", with(acceptBytes, 8, 0)},
		{"accept with reserved byte", with(acceptBytes, 9, 1)},
		{"accept cut off", acceptBytes[:11]},
		{"refusal without status", with(appendRefusal(nil, wire.StatusDraining, ""), 8, 0)},
		{"refusal with text longer than the body", with(appendRefusal(nil, wire.StatusDraining, ""), 12, 1)},
	} {
		if err := parseAny(c.msg); !errors.Is(err, errMessage) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// parseAny parses a message of any kind as the two sides do.
func parseAny(b []byte) error {
	k, n, err := parsePrefix(b)
	if err != nil {
		return err
	}
	if len(b) < prefixSize+n {
		return errMessage
	}
	body := b[prefixSize : prefixSize+n]
	if len(b) > prefixSize+n {
		body = b[prefixSize:] // let the body's own parser see the excess
	}
	switch k {
	case kindHello:
		_, err = parseHello(body)
	case kindOffer:
		_, err = parseOffer(body)
	case kindAccept:
		_, err = parseAccept(body)
	case kindRefuse:
		_, _, err = parseRefusal(body)
	}
	return err
}

func TestTextIsMadeHarmless(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"plain", "plain"},
		{"two\nlines\tand tab", "two lines and tab"},
		{"esc \x1b[2J bel \a", "esc ?[2J bel ?"},
		{"not utf-8 \xff\xfe", "not utf-8 ??"},
		{strings.Repeat("é", 300), strings.Repeat("é", 256)},
		{"x" + strings.Repeat("é", 300), "x" + strings.Repeat("é", 255)},
	} {
		if got := printable(c.in); got != c.want {
			t.Errorf("%q became %q", c.in, got)
		}
	}
}

func FuzzHandshake(f *testing.F) {
	f.Add((&hello{low: versionLow, high: versionHigh, maxRing: 4096, maxPayload: 64, why: "x"}).append(nil))
	f.Add((&offer{version: versionHigh, path: PathRing, ringSize: 4096, maxPayload: 64}).append(nil))
	f.Add((&accept{path: PathStream, why: "no"}).append(nil))
	f.Add(appendRefusal(nil, wire.StatusInternal, "because"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, n, err := parsePrefix(b); err == nil && n > maxBody {
			t.Fatalf("a body of %d bytes was believed", n)
		}
		_ = parseAny(b)
		if s := printable(string(b)); len(s) > maxText || !utf8.ValidString(s) {
			t.Fatalf("text %q", s)
		}
		if len(b) > prefixSize {
			if h, err := parseHello(b[prefixSize:]); err == nil {
				again, err := parseHello(h.append(nil)[prefixSize:])
				if err != nil || again != h {
					t.Fatalf("%+v became %+v: %v", h, again, err)
				}
			}
		}
	})
}

// FuzzListener feeds a living listener: it must refuse or hang up, within its
// time, and go on serving.
func FuzzListener(f *testing.F) {
	l := listen(f, Options{HandshakeTimeout: 200 * time.Millisecond})
	go func() {
		for {
			c, err := l.Accept(context.Background())
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	f.Add((&hello{low: versionLow, high: versionHigh, maxRing: 4096, maxPayload: 64}).append(nil))
	f.Add(append((&hello{low: versionLow, high: versionHigh, path: PathStream, maxRing: 4096, maxPayload: 64}).append(nil), (&accept{path: PathStream}).append(nil)...))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := net.Dial("unix", l.Path())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		_, _ = c.Write(b)
		_ = c.(*net.UnixConn).CloseWrite()
		var in [256]byte
		for err == nil {
			_, err = c.Read(in[:])
		}
		if ne, ok := err.(net.Error); ok && ne.Timeout() {
			t.Fatal("the listener neither answered nor hung up")
		}
	})
}
