package discovery

import (
	"bytes"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/identity"
)

// flooder sends one datagram over and over as fast as the kernel takes it: many
// in one system call (UDP_SEGMENT, udp(7)), which the kernel makes datagrams of
// where they arrive.
type flooder struct {
	fds  []int
	size int
	many []byte
	n    int // datagrams in many
	sent int
}

// segmentsMost is UDP_MAX_SEGMENTS of kernels before 6.0.
const segmentsMost = 64

func newFlooder(p []byte) *flooder {
	n := min(segmentsMost, 65_000/len(p))
	return &flooder{size: len(p), many: bytes.Repeat(p, n), n: n}
}

// open makes a socket for each address, on the host of the calling thread.
func (f *flooder) open(to ...netip.AddrPort) error {
	for _, a := range to {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		f.fds = append(f.fds, fd)
		if err := unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_SEGMENT, f.size); err != nil {
			return err
		}
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}); err != nil {
			return err
		}
	}
	return nil
}

func (f *flooder) close() {
	for _, fd := range f.fds {
		_ = unix.Close(fd)
	}
}

// flood sends for so long.
func (f *flooder) flood(d time.Duration) {
	for begun := time.Now(); time.Since(begun) < d; {
		for _, fd := range f.fds {
			if _, err := unix.Write(fd, f.many); err == nil {
				f.sent += f.n
			}
		}
	}
}

// usageOf returns the processor time and resident bytes of a process (proc(5)).
func usageOf(t *testing.T, pid int) (cpu time.Duration, resident int) {
	t.Helper()
	dir := "/proc/" + strconv.Itoa(pid)
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		t.Fatal(err)
	}
	statm, err := os.ReadFile(dir + "/statm")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	pages, _ := strconv.Atoi(strings.Fields(string(statm))[1])
	const tick = 10 * time.Millisecond // USER_HZ is 100 on Linux
	return time.Duration(user+system) * tick, pages * os.Getpagesize()
}

// strangersBeacon is what a node of which nobody knows would say, whose signature
// is of something else: what costs most of all that can be forged.
func strangersBeacon(t *testing.T, victim string) []byte {
	t.Helper()
	mine, err := identity.LoadCredentials(victim)
	if err != nil {
		t.Fatal(err)
	}
	trust, err := identity.LoadTrust(victim)
	if err != nil {
		t.Fatal(err)
	}
	var c Config
	FromIdentity(&c, mine, trust, "")
	signer, id := testKey(77)
	b := goldenBeacons()[1].Beacon
	b.Envelope = Envelope{Kind: KindBeacon, Node: id, Incarnation: 1, Counter: 1, Issued: uint64(time.Now().UnixMilli())}
	p, err := NewSealer(c.Cluster, id, signer).SealBeacon(&b)
	if err != nil {
		t.Fatal(err)
	}
	p[len(p)-signatureSize] ^= 1
	return p
}

// TestFloodThroughSockets floods a node on a bridge through both of its sockets,
// as fast as another host can, with beacons that pass everything but the check of
// their signature, and says what it costs. Its peer is heard, and hears, all the
// while; one that starts in the flood is found.
func TestFloodThroughSockets(t *testing.T) {
	if !soak() {
		t.Skip("CELL_SOAK=1: it takes all cores for ten seconds")
	}
	const port, span = 4545, 10 * time.Second
	l := newLab(t, 4)
	home := homes(t, "victim", "honest", "late")
	victim := l.start(0, "victim", home["victim"], envPort+"="+strconv.Itoa(port))
	honest := l.start(1, "honest", home["honest"])
	victim.await("found", "honest", 1)
	honest.await("found", "victim", 1)
	pid := victim.cmd.Process.Pid
	p := strangersBeacon(t, home["victim"])
	at := l.Hosts[0].V4
	idle, memory := usageOf(t, pid)
	time.Sleep(time.Second)
	cpu, _ := usageOf(t, pid)
	idle = cpu - idle
	before := victim.stats()
	f := newFlooder(p)
	flooded := make(chan error, 1)
	go func() {
		flooded <- l.Hosts[3].Do(func() error {
			defer f.close()
			if err := f.open(netip.AddrPortFrom(at, DefaultPort), netip.AddrPortFrom(at, port)); err != nil {
				return err
			}
			f.flood(span)
			return nil
		})
	}()
	time.Sleep(span / 5)
	late := l.start(2, "late", home["late"])
	l.must(<-flooded)
	end := time.Now()
	spent, grown := usageOf(t, pid)
	after := victim.stats()
	found := victim.await("found", "late", 1)
	t.Logf("%d beacons a second, %d bytes each: %.2f of a core (%.3f before), %d KiB more memory; %d looked at, %d signatures, sifted %d times, rested %d times",
		f.sent/int(span/time.Second), len(p), (spent-cpu).Seconds()/span.Seconds(), idle.Seconds(), (grown-memory)>>10,
		after.Drops.Total()-before.Drops.Total(), after.Drops.Signature-before.Drops.Signature, after.Sifts-before.Sifts, after.Rests-before.Rests)
	t.Logf("one that started in the flood was found after %v (in the flood: %v)", found.Sub(late.await("start", "", 1)), found.Before(end))
	for _, x := range []*process{victim, honest} {
		if s := x.stats(); s.Deaths > 0 {
			t.Errorf("%s has given somebody up: %+v", x.name, s)
		}
	}
	if after.Received[KindProbe]+after.Received[KindAck] == before.Received[KindProbe]+before.Received[KindAck] {
		t.Error("nothing of the honest one was accepted in the flood")
	}
	if grown-memory > 64<<20 {
		t.Errorf("the node's memory grew by %d MiB", (grown-memory)>>20)
	}
}
