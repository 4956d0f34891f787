package packet

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// flows returns both ends of a conversation.
func flows(v6 bool, vlan uint16) (here, there *Flow) {
	x, y := netip.MustParseAddrPort("10.77.0.1:47101"), netip.MustParseAddrPort("10.77.0.2:47102")
	if v6 {
		x, y = netip.MustParseAddrPort("[fd77::1]:47101"), netip.MustParseAddrPort("[fd77::2]:47102")
	}
	p, q := [6]byte{2, 0, 0, 0, 0, 1}, [6]byte{2, 0, 0, 0, 0, 2}
	return &Flow{x, y, p, q, vlan}, &Flow{y, x, q, p, vlan}
}

func mustTemplate(t testing.TB, f *Flow) *Template {
	t.Helper()
	m, err := NewTemplate(f)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// frame is a datagram from f's local end.
func frame(t testing.TB, f *Flow, datagram []byte) []byte {
	m := mustTemplate(t, f)
	b := append(make([]byte, m.Size()), datagram...)
	m.Put(b, true)
	return b
}

// The frames were read by tshark 4.0, which found nothing wrong with their
// checksums and lengths.
func TestGoldenFrames(t *testing.T) {
	for _, c := range []struct {
		name string
		v6   bool
		vlan uint16
		want string
	}{
		{"IPv4", false, 0, "02000000000202000000000108004500002100004000401126300a4d00010a4d0002b7fdb7fe000d376968656c6c6f"},
		{"IPv6", true, 0, "02000000000202000000000186dd600599c7000d1140fd770000000000000000000000000001fd770000000000000000000000000002b7fdb7fe000d511368656c6c6f"},
		{"VLAN", false, 77, "0200000000020200000000018100004d08004500002100004000401126300a4d00010a4d0002b7fdb7fe000d376968656c6c6f"},
	} {
		here, there := flows(c.v6, c.vlan)
		b := frame(t, here, []byte("hello"))
		if got := hex.EncodeToString(b); got != c.want {
			t.Errorf("%s: %s", c.name, got)
		}
		if d, err := NewParser(there, false).Datagram(b); err != nil || string(d) != "hello" {
			t.Errorf("%s: %q, %v", c.name, d, err)
		}
		if k, ok := KeyOf(b); !ok || k != there.Key() {
			t.Errorf("%s: its key is %+v", c.name, k)
		}
		if f, ok := FlowOf(b); !ok || f != *there {
			t.Errorf("%s: its flow is %+v", c.name, f)
		}
		for n := range b {
			_, _ = FlowOf(b[:n]) // must not panic
		}
	}
}

func TestEveryLength(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, v6 := range []bool{false, true} {
		here, there := flows(v6, 5)
		p := NewParser(there, false)
		for n := range 300 {
			d := make([]byte, n)
			for i := range d {
				d[i] = byte(rng.Uint32())
			}
			b := frame(t, here, d)
			padded := append(b[:len(b):len(b)], make([]byte, 20)...) // as devices do with short ones
			for _, f := range [][]byte{b, padded} {
				if got, err := p.Datagram(f); err != nil || !bytes.Equal(got, d) {
					t.Fatalf("%d bytes, IPv6 %t: %v", n, v6, err)
				}
			}
		}
	}
}

// Any single bit that is turned is noticed, but where it says nothing about
// this flow: the MAC addresses, priorities, the label, the hops.
func TestDamage(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		here, there := flows(v6, 0)
		p := NewParser(there, true)
		b := frame(t, here, []byte("sixteen bytes ok"))
		for i := ethernetSize - 2; i < len(b); i++ {
			if v6 && (i >= 14 && i < 18 || i == 21) {
				continue
			}
			for bit := range 8 {
				b[i] ^= 1 << bit
				if d, err := p.Datagram(b); err == nil {
					t.Errorf("IPv6 %t: byte %d, bit %d: %q", v6, i, bit, d)
				}
				b[i] ^= 1 << bit
			}
		}
		for n := range b {
			if _, err := p.Datagram(b[:n]); err == nil {
				t.Errorf("IPv6 %t: cut at %d", v6, n)
			}
		}
	}
}

func TestWhatIsRefused(t *testing.T) {
	here, there := flows(false, 7)
	p := NewParser(there, false)
	good := frame(t, here, []byte("hello"))
	for _, c := range []struct {
		name string
		do   func(b []byte)
		want error
	}{
		{"another VLAN", func(b []byte) { b[15] = 8 }, ErrForeign},
		{"ARP", func(b []byte) { b[16], b[17] = 8, 6 }, ErrForeign},
		{"IPv6", func(b []byte) { b[16], b[17] = 0x86, 0xdd }, ErrForeign},
		{"options", func(b []byte) { b[18] = 0x46 }, ErrForeign},
		{"TCP", func(b []byte) { b[27] = 6 }, ErrForeign},
		{"another source", func(b []byte) { b[33]++ }, ErrForeign},
		{"another port", func(b []byte) { b[39]++ }, ErrForeign},
		{"a fragment", func(b []byte) { b[24] = 0x20 }, ErrFragment},
		{"a wrong header checksum", func(b []byte) { b[28]++ }, ErrChecksum},
		{"a wrong UDP checksum", func(b []byte) { b[44]++ }, ErrChecksum},
		{"a UDP length beyond", func(b []byte) { b[43]++ }, ErrShort},
	} {
		b := bytes.Clone(good)
		c.do(b)
		if _, err := p.Datagram(b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	b := bytes.Clone(good)
	b[14] |= 0xe0
	if _, err := p.Datagram(b); err != nil {
		t.Errorf("a priority: %v", err)
	}
	untagged := append(bytes.Clone(good[:12]), good[16:]...)
	if _, err := p.Datagram(untagged); err != nil {
		t.Errorf("a tag that the device took: %v", err)
	}
}

func TestWithoutChecksum(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		here, there := flows(v6, 0)
		m := mustTemplate(t, here)
		b := append(make([]byte, m.Size()), "hello"...)
		m.Put(b, false)
		if (b[m.Size()-1]|b[m.Size()-2] == 0) == v6 {
			t.Errorf("IPv6 %t: checksum %x", v6, b[m.Size()-2:m.Size()])
		}
		if _, err := NewParser(there, false).Datagram(b); err != nil {
			t.Errorf("IPv6 %t: %v", v6, err)
		}
		b[m.Size()-1], b[m.Size()-2] = 0, 0
		if _, err := NewParser(there, false).Datagram(b); (err != nil) != v6 {
			t.Errorf("IPv6 %t, no checksum: %v", v6, err)
		}
	}
}

// What a sender leaves to its device passes only where that is expected, and a
// device that does its work makes it whole.
func TestChecksumLeftToADevice(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		here, there := flows(v6, 0)
		m := mustTemplate(t, here)
		b := append(make([]byte, m.Size()), "hello"...)
		m.Put(b, true)
		start, offset := m.FinishPartial(b)
		if _, err := NewParser(there, false).Datagram(b); !errors.Is(err, ErrChecksum) {
			t.Errorf("IPv6 %t: %v", v6, err)
		}
		if d, err := NewParser(there, true).Datagram(b); err != nil || string(d) != "hello" {
			t.Errorf("IPv6 %t: %q, %v", v6, d, err)
		}
		check := ^fold(sum(b[start:], 0))
		b[start+offset], b[start+offset+1] = byte(check>>8), byte(check)
		if _, err := NewParser(there, false).Datagram(b); err != nil {
			t.Errorf("IPv6 %t, summed by the device: %v", v6, err)
		}
	}
}

func TestNoFlows(t *testing.T) {
	here, _ := flows(false, 0)
	other, _ := flows(true, 0)
	for _, f := range []Flow{{}, {Local: here.Local, Remote: other.Remote}, {Local: here.Local, Remote: here.Remote, VLAN: 4095}} {
		if _, err := NewTemplate(&f); err == nil {
			t.Errorf("%+v is a flow", f)
		}
	}
}

// Sums by the definition of RFC 1071.
func TestSumAgainstTheDefinition(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for n := range 200 {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32()) | byte(rng.Uint32())&byte(n)
		}
		want := uint32(0)
		for i := 0; i < n; i += 2 {
			w := uint32(b[i]) << 8
			if i+1 < n {
				w |= uint32(b[i+1])
			}
			want += w
		}
		for want > 0xffff {
			want = want>>16 + want&0xffff
		}
		if got := fold(sum(b, 0)); uint32(got) != want {
			t.Fatalf("%d bytes: %#x, want %#x", n, got, want)
		}
	}
}

// Where every carry is one that comes of another.
func TestSumOfOnes(t *testing.T) {
	for n := range 40 {
		b := bytes.Repeat([]byte{0xff}, 2*n+32)
		if got := fold(sum(b, ^uint64(0))); got != 0xffff {
			t.Errorf("%d bytes: %#x", len(b), got)
		}
	}
}

func TestNothingIsAllocated(t *testing.T) {
	here, there := flows(true, 0)
	m, p := mustTemplate(t, here), NewParser(there, false)
	b := append(make([]byte, m.Size()), make([]byte, 1000)...)
	if n := testing.AllocsPerRun(100, func() {
		m.Put(b, true)
		if _, err := p.Datagram(b); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzDatagram(f *testing.F) {
	for _, v6 := range []bool{false, true} {
		here, _ := flows(v6, 3)
		f.Add(frame(f, here, []byte("hello")), v6, true)
	}
	f.Fuzz(func(t *testing.T, b []byte, v6, unsummed bool) {
		here, there := flows(v6, 3)
		before := bytes.Clone(b)
		d, err := NewParser(there, unsummed).Datagram(b)
		if !bytes.Equal(b, before) {
			t.Fatal("changes what it reads")
		}
		if err != nil {
			return
		}
		// What it takes for a datagram comes back the same from a frame of ours.
		again, err := NewParser(there, false).Datagram(frame(t, here, d))
		if err != nil || !bytes.Equal(again, d) {
			t.Fatalf("%x: %v", d, err)
		}
	})
}

func BenchmarkPut(b *testing.B) {
	here, _ := flows(false, 0)
	m := mustTemplate(b, here)
	f := make([]byte, m.Size()+64)
	for b.Loop() {
		m.Put(f, true)
	}
}
