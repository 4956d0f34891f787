package ebpf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// beacon describes one to build; its zero value passes testRules.
type beacon struct {
	magic       string
	version     byte
	cluster     byte // instead of 7, in each byte
	node        byte
	incarnation uint64
	counter     uint64
	hops        byte
	signature   byte
	body        int
	length      int // instead of what is true
}

func (d beacon) build() []byte {
	b := make([]byte, ShortestBeacon+d.body)
	copy(b, cmpOr(d.magic, beaconMagic))
	b[4], b[5] = cmpOr(d.version, beaconVersion), 1
	binary.LittleEndian.PutUint16(b[6:], uint16(cmpOr(d.length, len(b))))
	for i := range 8 {
		b[8+i] = cmpOr(d.cluster, 7)
	}
	for i := range 32 {
		b[beaconNode+i] = d.node
	}
	binary.LittleEndian.PutUint64(b[beaconIncarnation:], d.incarnation)
	binary.LittleEndian.PutUint64(b[beaconCounter:], d.counter)
	b[beaconHops] = d.hops
	for i := range beaconSignature {
		b[len(b)-1-i] = d.signature
	}
	return b
}

func cmpOr[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// testRules allow a source three beacons in an hour, so that no time that a test
// takes matters.
var testRules = Rules{
	Port: testPort, Cluster: [8]byte{7, 7, 7, 7, 7, 7, 7, 7}, MinHops: 32, MaxHops: 4,
	Every: time.Hour, Burst: 3, NewEvery: time.Hour, NewBurst: 5,
}

// frameModel says what pheromone must do with a frame, of which judge looks at
// the payload.
func frameModel(b []byte, port uint16, judge func(source netip.Addr, hops uint8, payload []byte) Reason) Reason {
	if len(b) < 14 {
		return ReasonOther
	}
	ethertype, b := binary.BigEndian.Uint16(b[12:]), b[14:]
	if ethertype == 0x8100 || ethertype == 0x88a8 {
		if len(b) < 4 {
			return ReasonOther
		}
		ethertype, b = binary.BigEndian.Uint16(b[2:]), b[4:]
	}
	toPort := func(b []byte) bool { return len(b) >= 8 && binary.BigEndian.Uint16(b[2:]) == port }
	hidden := func(b []byte, why Reason) Reason {
		if toPort(b) {
			return why
		}
		return ReasonOther
	}
	var source netip.Addr
	var hops uint8
	switch {
	case ethertype == 0x0800 && len(b) >= 20 && b[0]>>4 == 4 && b[0]&15 >= 5 && b[9] == 17:
		fragment, size := binary.BigEndian.Uint16(b[6:]), 4*int(b[0]&15)
		source, hops = netip.AddrFrom4([4]byte(b[12:])), b[8]
		b = b[min(size, len(b)):]
		switch {
		case fragment&0x1fff != 0:
			return ReasonOther
		case size > 20:
			return hidden(b, ReasonHeaders)
		case fragment&0x2000 != 0:
			return hidden(b, ReasonFragment)
		}
	case ethertype == 0x86dd && len(b) >= 40 && b[0]>>4 == 6:
		next := b[6]
		source, hops, b = netip.AddrFrom16([16]byte(b[8:])), b[7], b[40:]
		if next == 17 {
			break
		}
		for range 4 {
			if !slices.Contains([]byte{0, 43, 44, 60}, next) || len(b) < 8 {
				return ReasonOther
			}
			kind, size := next, 8*(int(b[1])+1)
			next = b[0]
			switch {
			case kind == 44 && (next != 17 || binary.BigEndian.Uint16(b[2:])&0xfff8 != 0):
				return ReasonOther
			case kind == 44:
				return hidden(b[8:], ReasonFragment)
			}
			b = b[min(size, len(b)):]
			if next == 17 {
				return hidden(b, ReasonHeaders)
			}
		}
		return ReasonOther
	default:
		return ReasonOther
	}
	if !toPort(b) {
		return ReasonOther
	}
	size := int(binary.BigEndian.Uint16(b[4:]))
	switch {
	case size < 8 || len(b) < 8+ShortestBeacon:
		return ReasonLength
	case size > len(b):
		// Cut off. What is there is looked at first.
		r, _ := testRules.settle()
		if why := r.judgeFormat(append(slices.Clone(b[8:]), make([]byte, size-len(b))...), hops); why != ReasonAccepted {
			return why
		}
		return ReasonLength
	}
	return judge(source, hops, b[8:size])
}

// bench has the program, by one of its entries, and its model, in the same
// state.
type bench struct {
	p      *Pheromone
	entry  *ebpf.Program
	pass   uint32
	drop   uint32
	tcx    bool
	screen *Screen
	before PheromoneStats
}

func newBench(t testing.TB, tcx bool) *bench {
	t.Helper()
	p, err := LoadPheromone(testRules)
	skipOrFail(t, err)
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	b := &bench{p: p, entry: p.objects.PheromoneXdp, pass: 2, drop: 1, tcx: tcx}
	if tcx {
		b.entry, b.pass, b.drop = p.objects.PheromoneTcx, 0xffffffff, 2
	}
	b.reset(t)
	return b
}

// reset makes both forget everything.
func (b *bench) reset(t testing.TB) {
	t.Helper()
	var err error
	if b.screen, err = NewScreen(testRules); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*ebpf.Map{b.p.objects.Seen, b.p.objects.Sources, b.p.objects.Floors} {
		key, value := make([]byte, m.KeySize()), make([]byte, m.ValueSize())
		var keys [][]byte
		for it := m.Iterate(); it.Next(&key, &value); {
			keys = append(keys, slices.Clone(key))
		}
		for _, k := range keys {
			if err := m.Delete(k); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := b.p.objects.Newcomers.Put(uint32(0), uint64(0)); err != nil {
		t.Fatal(err)
	}
	if b.before, err = b.p.Stats(); err != nil {
		t.Fatal(err)
	}
}

// shortest is what the kernel's test run of a tcx program takes at least, on some
// kernels; of an XDP program, an Ethernet header.
const shortest = 14 + 4 + 40

// run gives a frame to the program and to the model, and returns what the model
// says after having compared.
func (b *bench) run(t testing.TB, what any, frame []byte) Reason {
	t.Helper()
	o := &ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+256)}
	code, err := b.entry.Run(o)
	if b.tcx && len(frame) < shortest && errors.Is(err, unix.EINVAL) {
		return ReasonOther
	}
	if err != nil {
		t.Fatalf("%v: running the program on %d bytes: %v", what, len(frame), err)
	}
	want := frameModel(frame, testPort, func(source netip.Addr, hops uint8, payload []byte) Reason {
		return b.screen.Judge(0, source, hops, payload)
	})
	if !bytes.Equal(o.DataOut, frame) {
		t.Errorf("%v: the program changed the frame", what)
	}
	after, err := b.p.Stats()
	if err != nil {
		t.Fatal(err)
	}
	b.before[want]++
	verdict := b.drop
	if want.Passes() {
		verdict = b.pass
	}
	if code != verdict || after != b.before {
		t.Errorf("%v: verdict %d, counters %v; the model says %v: %d and %v\n%x", what, int32(code), after, want, int32(verdict), b.before, frame)
	}
	b.before = after
	return want
}

func eachEntry(t *testing.T, f func(t *testing.T, b *bench)) {
	for _, v := range []struct {
		name string
		tcx  bool
	}{{"XDP", false}, {"tcx", true}} {
		t.Run(v.name, func(t *testing.T) { f(t, newBench(t, v.tcx)) })
	}
}

// extension is an IPv6 extension header of 8 bytes, in front of another.
func extension(next byte) []byte { return []byte{next, 0, 0, 0, 0, 0, 0, 0} }

var pheromoneCases = []struct {
	name string
	p    packet
	b    *beacon // the payload, instead of p's
	want Reason
}{
	{"a beacon over IPv4", packet{}, &beacon{}, ReasonAccepted},
	{"a beacon over IPv6", packet{v6: true}, &beacon{}, ReasonAccepted},
	{"a beacon with a body", packet{}, &beacon{body: 301}, ReasonAccepted},
	{"the longest", packet{}, &beacon{body: 1200 - ShortestBeacon}, ReasonAccepted},
	{"one byte longer", packet{}, &beacon{body: 1201 - ShortestBeacon}, ReasonLength},
	{"one VLAN tag", packet{vlans: 1}, &beacon{}, ReasonAccepted},
	{"one VLAN tag, IPv6", packet{vlans: 1, v6: true}, &beacon{}, ReasonAccepted},
	{"two VLAN tags are the kernel's affair", packet{vlans: 2}, &beacon{}, ReasonOther},
	{"a wrong IPv4 checksum is for the kernel to see", packet{badSum: true}, &beacon{}, ReasonAccepted},
	{"another port", packet{port: 22}, &beacon{}, ReasonOther},
	{"TCP", packet{proto: 6}, &beacon{}, ReasonOther},
	{"TCP over IPv6", packet{v6: true, proto: 6}, &beacon{}, ReasonOther},
	{"ARP", packet{ethertype: 0x0806}, nil, ReasonOther},
	{"no beacon", packet{}, nil, ReasonLength},
	{"the first fragment", packet{fragment: 0x2000}, &beacon{}, ReasonFragment},
	{"the first fragment to another port", packet{fragment: 0x2000, port: 22}, &beacon{}, ReasonOther},
	{"a later fragment", packet{fragment: 0x2010}, &beacon{}, ReasonOther},
	{"IPv6, the first fragment", packet{v6: true, proto: 44, extension: []byte{17, 0, 0, 1, 0, 0, 0, 9}}, &beacon{}, ReasonFragment},
	{"IPv6, a later fragment", packet{v6: true, proto: 44, extension: []byte{17, 0, 1, 0, 0, 0, 0, 9}}, &beacon{}, ReasonOther},
	{"IPv6, a fragment of TCP", packet{v6: true, proto: 44, extension: []byte{6, 0, 0, 1, 0, 0, 0, 9}}, &beacon{}, ReasonOther},
	{"IPv6, routing and a fragment", packet{v6: true, proto: 43, extension: append(extension(44), 17, 0, 0, 1, 0, 0, 0, 9)}, &beacon{}, ReasonFragment},
	{"IPv6, options", packet{v6: true, proto: 60, extension: extension(17)}, &beacon{}, ReasonHeaders},
	{"IPv6, hop-by-hop cut off", packet{v6: true, proto: 60, extension: []byte{17, 200, 0, 0, 0, 0, 0, 0}}, &beacon{}, ReasonOther},
	{"IPv6, four extension headers", packet{v6: true, proto: 60, extension: slices.Concat(extension(60), extension(43), extension(60), extension(17))}, &beacon{}, ReasonHeaders},
	{"IPv6, five are the kernel's affair", packet{v6: true, proto: 60, extension: slices.Concat(extension(60), extension(43), extension(60), extension(60), extension(17))}, &beacon{}, ReasonOther},
	{"IPv6, options of TCP", packet{v6: true, proto: 60, extension: extension(6)}, &beacon{}, ReasonOther},
	{"IPv4 options", packet{options: 1}, &beacon{}, ReasonHeaders},
	{"IPv4 options to another port", packet{options: 10, port: 22}, &beacon{}, ReasonOther},
	{"wrong magic", packet{}, &beacon{magic: "CELQ"}, ReasonMagic},
	{"magic in the other byte order", packet{}, &beacon{magic: "PLEC"}, ReasonMagic},
	{"another version", packet{}, &beacon{version: 2}, ReasonVersion},
	{"says that it is longer", packet{}, &beacon{length: ShortestBeacon + 1}, ReasonLength},
	{"says that it is shorter", packet{}, &beacon{body: 8, length: ShortestBeacon}, ReasonLength},
	{"another cluster", packet{}, &beacon{cluster: 8}, ReasonCluster},
	{"too many hops", packet{hops: 31}, &beacon{}, ReasonHops},
	{"too many hops, IPv6", packet{v6: true, hops: 31}, &beacon{}, ReasonHops},
	{"may go too far", packet{}, &beacon{hops: 5}, ReasonHops},
	{"just far enough", packet{}, &beacon{hops: 4}, ReasonAccepted},
	{"just enough hops", packet{hops: 32}, &beacon{}, ReasonAccepted},
	{"UDP says that it is longer than the frame", packet{udpLength: 8 + ShortestBeacon + 1}, &beacon{}, ReasonLength},
	{"UDP says that it is shorter than its header", packet{udpLength: 7}, &beacon{}, ReasonLength},
}

func TestPheromone(t *testing.T) {
	eachEntry(t, func(t *testing.T, b *bench) {
		for _, v := range pheromoneCases {
			p := v.p
			if v.b != nil {
				p.payload = v.b.build()
			}
			b.reset(t)
			if got := b.run(t, v.name, p.build()); got != v.want {
				t.Errorf("%s: the model says %v, want %v", v.name, got, v.want)
			}
		}
	})
}

func TestPheromoneOnTruncatedFrames(t *testing.T) {
	eachEntry(t, func(t *testing.T, b *bench) {
		for _, p := range []packet{
			{}, {v6: true}, {vlans: 1}, {vlans: 1, v6: true}, {fragment: 0x2000}, {options: 2},
			{v6: true, proto: 60, extension: extension(17)},
		} {
			p.payload = beacon{body: 10}.build()
			frame := p.build()
			b.reset(t)
			for n := 14; n <= len(frame); n++ {
				b.run(t, fmt.Sprintf("%d bytes", n), frame[:n])
			}
		}
	})
}

func TestPheromoneDropsWhatIsRepeated(t *testing.T) {
	eachEntry(t, func(t *testing.T, b *bench) {
		for i, v := range []struct {
			what   string
			source byte
			v6     bool
			d      beacon
			want   Reason
		}{
			{"the first", 1, false, beacon{counter: 5, signature: 1}, ReasonAccepted},
			{"the same", 1, false, beacon{counter: 5, signature: 1}, ReasonReplay},
			{"the same from somebody else", 2, true, beacon{counter: 5, signature: 1}, ReasonReplay},
			{"with another body and the same signature", 1, false, beacon{counter: 5, signature: 1, body: 9}, ReasonReplay},
			{"a forgery of the next", 2, false, beacon{counter: 6, signature: 66}, ReasonAccepted},
			{"the next", 1, false, beacon{counter: 6, signature: 2}, ReasonAccepted},
			{"the same of another node", 1, false, beacon{node: 1, counter: 6, signature: 2}, ReasonAccepted},
			{"the same after a restart, from a third", 3, false, beacon{incarnation: 1, counter: 6, signature: 2}, ReasonAccepted},
		} {
			p := packet{source: v.source, v6: v.v6, payload: v.d.build()}
			if got := b.run(t, v.what, p.build()); got != v.want {
				t.Errorf("%d, %s: the model says %v, want %v", i, v.what, got, v.want)
			}
		}
	})
}

func TestPheromoneDropsWhatIsBelowTheFloor(t *testing.T) {
	eachEntry(t, func(t *testing.T, b *bench) {
		node := [32]byte(bytes.Repeat([]byte{9}, 32))
		b.screen.SetFloor(node, 4, 1<<40)
		if err := b.p.SetFloor(node, 4, 1<<40); err != nil {
			t.Fatal(err)
		}
		for i, v := range []struct {
			node                 byte
			incarnation, counter uint64
			want                 Reason
		}{
			{9, 4, 1 << 40, ReasonOld}, {9, 4, 7, ReasonOld}, {9, 3, 1 << 41, ReasonOld},
			{9, 4, 1<<40 + 1, ReasonAccepted}, {9, 5, 0, ReasonAccepted}, {8, 4, 7, ReasonAccepted},
		} {
			p := packet{payload: beacon{node: v.node, incarnation: v.incarnation, counter: v.counter}.build()}
			if got := b.run(t, i, p.build()); got != v.want {
				t.Errorf("%d: the model says %v, want %v", i, got, v.want)
			}
		}
	})
}

func TestPheromoneUnderAFlood(t *testing.T) {
	eachEntry(t, func(t *testing.T, b *bench) {
		var got [reasons]int
		for i := range 40 {
			got[b.run(t, i, packet{source: 1, payload: beacon{counter: uint64(i)}.build()}.build())]++
		}
		if got[ReasonAccepted] != 3 || got[ReasonRate] != 37 {
			t.Errorf("of 40 beacons from one source, of which three may come at once: %v", got)
		}
		got = [reasons]int{}
		for i := range 40 {
			got[b.run(t, i, packet{source: byte(2 + i), payload: beacon{counter: uint64(100 + i)}.build()}.build())]++
		}
		if got[ReasonAccepted] != 4 || got[ReasonStrangers] != 36 {
			t.Errorf("of 40 beacons from new sources, of which five may come at once, one had come: %v", got)
		}
		// What is repeated uses up nothing of a source's rate.
		b.reset(t)
		b.run(t, "genuine", packet{source: 1, payload: beacon{counter: 1}.build()}.build())
		for range 40 {
			b.run(t, "repeated", packet{source: 1, payload: beacon{counter: 1}.build()}.build())
		}
		if r := b.run(t, "the next", packet{source: 1, payload: beacon{counter: 2}.build()}.build()); r != ReasonAccepted {
			t.Errorf("behind a flood of repetitions: %v", r)
		}
	})
}

// FuzzPheromone runs frames through both entries and the model: raw, and beacons
// of which one byte is changed, in sequence, so that what is remembered counts.
func FuzzPheromone(f *testing.F) {
	for _, v := range pheromoneCases {
		p := v.p
		if v.b != nil {
			p.payload = v.b.build()
		}
		f.Add(p.build(), []byte{0, 0, 0, 0, 1, 44, 3, 0, 0, 0, 0})
	}
	entries := []*bench{newBench(f, false), newBench(f, true)}
	f.Fuzz(func(t *testing.T, raw, ops []byte) {
		if len(raw) > 1500 {
			return
		}
		for _, b := range entries {
			b.reset(t)
			if len(raw) >= 14 {
				b.run(t, "raw", raw)
			}
			for i := 0; i+4 <= min(len(ops), 64); i += 4 {
				p := packet{
					v6: ops[i]&1 != 0, vlans: int(ops[i] >> 1 & 1), source: ops[i] >> 2 & 3,
					payload: beacon{counter: uint64(ops[i] >> 4 & 3), node: ops[i] >> 6}.build(),
				}
				frame := p.build()
				frame[14+(int(ops[i+1])|int(ops[i+2]&1)<<8)%(len(frame)-14)] ^= ops[i+3]
				b.run(t, i, frame)
			}
		}
	})
}

func TestRulesThatCantBe(t *testing.T) {
	for what, r := range map[string]Rules{
		"no port":            {},
		"shorter than short": {Port: 1, Longest: ShortestBeacon - 1},
		"longer than long":   {Port: 1, Longest: LongestBeacon + 1},
		"negative burst":     {Port: 1, Burst: -1},
		"an endless pace":    {Port: 1, Every: 1 << 62},
	} {
		if _, err := NewScreen(r); err == nil {
			t.Errorf("%s is accepted", what)
		}
		if _, err := LoadPheromone(r); err == nil || errors.Is(err, ErrPermission) {
			t.Errorf("%s: the rules are to be looked at first: %v", what, err)
		}
	}
}

func TestScreenAllocatesNothing(t *testing.T) {
	r := testRules
	r.Every, r.NewEvery = -1, -1
	s, err := NewScreen(r)
	if err != nil {
		t.Fatal(err)
	}
	b := beacon{}.build()
	counter := uint64(0)
	judge := func() {
		counter++
		binary.LittleEndian.PutUint64(b[beaconCounter:], counter)
		s.Judge(0, netip.AddrFrom4([4]byte{10, 0, byte(counter >> 8), byte(counter)}), 255, b)
	}
	for range 3 * maxMarks { // till both generations have been full
		judge()
	}
	if n := testing.AllocsPerRun(1000, judge); n != 0 {
		t.Errorf("%v allocations a beacon", n)
	}
	if stats := s.Stats(); stats[ReasonAccepted] != counter {
		t.Errorf("%v of %d", stats, counter)
	}
}
