// Command beaconflood measures what it costs to drop what is no beacon of this
// cluster: in XDP, in tcx, behind a classic socket filter, and in user space
// alone, between two network namespaces over veth. It needs root and two cores.
//
// Cost: the kernel sends a million packets on one core (live frames), which also
// takes them in; the time for a packet, less that of making one and dropping it
// at once, is what it costs up to where it is dropped. Where that is user space,
// which receives and judges on the other core, the thread's time for a packet
// that it judged is added.
//
// Survival: one core floods, and on the other genuine beacons of many nodes are
// sent, received and counted.
package main

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/afxdp/netlab"
	"github.com/cell-runtime/cell/ebpf"
)

var (
	rounds = flag.Int("rounds", 5, "turns of each")
	span   = flag.Duration("span", 400*time.Millisecond, "how long each turn of survival takes")
)

const port = 47100

var rules = ebpf.Rules{Port: port, Cluster: [8]byte{7, 7, 7, 7, 7, 7, 7, 7}}

// way is one place where packets are dropped.
type way struct {
	name string
	mode ebpf.Mode // where the program is; ModeAuto: nowhere
	user bool      // user space receives and judges
	// classic: behind a classic filter.
	classic bool
	sink    bool // the baseline: dropped where it is made
}

var ways = []way{
	{name: "making them", sink: true},
	{name: "XDP, driver", mode: ebpf.ModeDriver},
	{name: "tcx", mode: ebpf.ModeTCX},
	{name: "classic filter", user: true, classic: true},
	{name: "user space", user: true},
}

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "beaconflood:", err)
		os.Exit(1)
	}
}

func run() error {
	for _, flood := range []struct {
		name    string
		payload []byte
	}{
		{"of another cluster", beacon(8, 0)},
		{"of this cluster, too many from one source", beacon(7, 0)},
	} {
		cost := make([][]float64, len(ways))
		lost := make([][]float64, len(ways))
		for range *rounds {
			for i, w := range ways {
				ns, err := measure(w, flood.payload, false)
				if err != nil {
					return fmt.Errorf("%s: %w", w.name, err)
				}
				cost[i] = append(cost[i], ns)
				if w.sink {
					continue
				}
				l, err := measure(w, flood.payload, true)
				if err != nil {
					return fmt.Errorf("%s: %w", w.name, err)
				}
				lost[i] = append(lost[i], l)
			}
		}
		fmt.Printf("Beacons %s:\n%-16s %30s %22s\n", flood.name, "", "ns to drop one (least … most)", "genuine lost, %")
		base := median(cost[0])
		xdp := median(cost[1]) - base
		for i, w := range ways {
			if w.sink {
				fmt.Printf("%-16s %8.0f (%.0f … %.0f)\n", w.name, base, slices.Min(cost[i]), slices.Max(cost[i]))
				continue
			}
			d := median(cost[i]) - base
			fmt.Printf("%-16s %8.0f (%.0f … %.0f), %4.1f x XDP %8.2f (… %.2f)\n", w.name, d,
				slices.Min(cost[i])-base, slices.Max(cost[i])-base, d/xdp, median(lost[i]), slices.Max(lost[i]))
		}
	}
	return nil
}

func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	return v[len(v)/2]
}

// beacon is one of a cluster, with a counter that nobody else has.
func beacon(cluster byte, counter uint64) []byte {
	b := make([]byte, 201)
	copy(b, "CELP\x01\x01")
	binary.LittleEndian.PutUint16(b[6:], uint16(len(b)))
	for i := range 8 {
		b[8+i] = cluster
	}
	binary.LittleEndian.PutUint64(b[56:], counter)
	return b
}

// measure runs one turn in a lab of its own: the cost of one packet, or the
// percentage of genuine beacons that are lost.
func measure(w way, flood []byte, survival bool) (float64, error) {
	lab, err := netlab.New(netlab.Options{})
	if err != nil {
		return 0, err
	}
	defer lab.Close()
	end, err := prepare(lab, w)
	if err != nil {
		return 0, err
	}
	defer end()
	in, err := socket(lab.A, netip.AddrPortFrom(lab.A.V4, port), netip.AddrPort{})
	if err != nil {
		return 0, err
	}
	defer unix.Close(in)
	if w.classic {
		if err := ebpf.AttachClassic(in, rules); err != nil {
			return 0, err
		}
	}
	g, err := newGenerator(lab, flood, w.sink)
	if err != nil {
		return 0, err
	}
	defer g.Close()
	if survival {
		return survivors(lab, in, g)
	}
	return cost(lab, w, in, g)
}

// prepare puts the program where it belongs.
func prepare(lab *netlab.Lab, w way) (end func(), err error) {
	end = func() {}
	err = lab.A.Do(func() error {
		if err := gro(lab.A.Interface); err != nil || w.mode == ebpf.ModeAuto {
			return err
		}
		p, err := ebpf.LoadPheromone(rules)
		if err != nil {
			return err
		}
		end = func() { p.Close() }
		return p.Attach(lab.A.Index, w.mode)
	})
	return end, err
}

func socket(h *netlab.Host, local, remote netip.AddrPort) (fd int, err error) {
	err = h.Do(func() error {
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		err := unix.Bind(fd, &unix.SockaddrInet4{Port: int(local.Port()), Addr: local.Addr().As4()})
		if err == nil && remote.IsValid() {
			err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(remote.Port()), Addr: remote.Addr().As4()})
		}
		return errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 128<<20))
	})
	return fd, err
}

// pin keeps the calling thread on one core until the returned function.
func pin(cpu int) func() {
	runtime.LockOSThread()
	var old, set unix.CPUSet
	_ = unix.SchedGetaffinity(0, &old)
	set.Set(cpu)
	_ = unix.SchedSetaffinity(0, &set)
	return func() {
		_ = unix.SchedSetaffinity(0, &old)
		runtime.UnlockOSThread()
	}
}

// receiver judges what comes, as a node without a program does.
type receiver struct {
	fd      int
	m       messages
	buffers [batch][2048]byte
	screen  *ebpf.Screen
	start   time.Time
}

func newReceiver(fd int) (*receiver, error) {
	s, err := ebpf.NewScreen(rules)
	return &receiver{fd: fd, screen: s, start: time.Now()}, err
}

// receive judges one batch and returns how many came, and of those that passed
// how many are genuine.
func (r *receiver) receive() (n, genuine int) {
	for i := range batch {
		r.m.set(i, r.buffers[i][:], true)
	}
	n, _ = r.m.call(unix.SYS_RECVMMSG, r.fd, batch)
	now := time.Since(r.start)
	for i := range n {
		b := r.buffers[i][:r.m.headers[i].length]
		if r.screen.Judge(now, netip.AddrFrom4(r.m.names[i].Addr), 64, b).Passes() && b[16] == 1 {
			genuine++
		}
	}
	return n, genuine
}

// burst is how many packets are sent in one system call: setting it up costs as
// much as thousands of them.
const burst = 1 << 20

// cost returns ns a packet.
func cost(lab *netlab.Lab, w way, in int, g *netlab.Generator) (float64, error) {
	r, err := newReceiver(in)
	if err != nil {
		return 0, err
	}
	stop, user := make(chan struct{}), make(chan float64, 1)
	if w.user {
		go func() { user <- r.judgeUntil(stop) }()
	} else {
		user <- 0
	}
	var d time.Duration
	err = lab.B.Do(func() error {
		defer pin(0)()
		start := time.Now()
		err := g.Send(burst)
		d = time.Since(start)
		return err
	})
	close(stop)
	return float64(d.Nanoseconds())/burst + <-user, err
}

// judgeUntil receives and judges until stop, and returns the thread's ns for
// each packet.
func (r *receiver) judgeUntil(stop chan struct{}) float64 {
	defer pin(1)()
	var judged int
	var busy int64
	for {
		select {
		case <-stop:
			return float64(busy) / float64(max(judged, 1))
		default:
		}
		before := threadTime()
		if n, _ := r.receive(); n > 0 {
			judged += n
			busy += threadTime() - before
		}
	}
}

func threadTime() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0
	}
	return t.Nano()
}

// nodes is how many send genuine beacons, each from an address of its own.
const nodes = 50

// survivors floods from one core, and sends, receives and counts on the other
// genuine beacons, one each 500 µs.
func survivors(lab *netlab.Lab, in int, g *netlab.Generator) (float64, error) {
	var sockets [nodes]int
	for i := range sockets {
		a := netip.AddrFrom4([4]byte{10, 77, 0, byte(100 + i)})
		if err := addAddress(lab.B, a); err != nil {
			return 0, err
		}
		fd, err := socket(lab.B, netip.AddrPortFrom(a, 0), netip.AddrPortFrom(lab.A.V4, port))
		if err != nil {
			return 0, err
		}
		defer unix.Close(fd)
		sockets[i] = fd
	}
	r, err := newReceiver(in)
	if err != nil {
		return 0, err
	}
	flooded := make(chan error, 1)
	start := time.Now()
	go func() {
		flooded <- lab.B.Do(func() error {
			defer pin(0)()
			for time.Since(start) < *span {
				if err := g.Send(burst / 16); err != nil {
					return err
				}
			}
			return nil
		})
	}()
	unpin := pin(1)
	sent, got := 0, 0
	for next, quiet := time.Duration(0), 0; quiet < 1000; {
		now := time.Since(start)
		if now < *span && now >= next {
			b := beacon(7, uint64(sent))
			b[16], b[17] = 1, byte(sent%nodes)
			if _, err := unix.Write(sockets[sent%nodes], b); err == nil {
				sent++
			}
			next += 500 * time.Microsecond
		}
		n, genuine := r.receive()
		got += genuine
		if n == 0 && now > *span {
			quiet++
		}
	}
	unpin()
	if err := <-flooded; err != nil {
		return 0, err
	}
	if sent == 0 {
		return 0, errors.New("no genuine beacon was sent")
	}
	return 100 * float64(sent-got) / float64(sent), nil
}

func addAddress(h *netlab.Host, a netip.Addr) error {
	return h.Do(func() error {
		l, err := h.Net.LinkByName(h.Device)
		if err != nil {
			return err
		}
		return h.Net.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(24, 32)}})
	})
}
