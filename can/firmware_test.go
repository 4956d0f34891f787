package can

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cell-runtime/cell/wire"
)

const firmware = "../firmware/can/"

// compileC builds a program with the sanitizers.
func compileC(t *testing.T, source string, defines ...string) string {
	t.Helper()
	cc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("gcc is not installed: apt-get install gcc libc6-dev")
	}
	binary := filepath.Join(t.TempDir(), "program")
	args := append([]string{"-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-g", "-O1",
		"-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-o", binary, source}, defines...)
	if out, err := exec.Command(cc, args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return binary
}

func TestCReadsGoldenVectors(t *testing.T) {
	program := compileC(t, firmware+"vectors.c", "-DCELL_CAN_DATA=64u", "-DCELL_CAN_BITS=5u")
	out, err := exec.Command(program, vectorsPath).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// device is a program of cell_can.h with a port of a model.
type device struct {
	t    *testing.T
	in   io.Writer
	out  *bufio.Scanner
	port *Port
}

func startDevice(t *testing.T, s *sim, defines ...string) *device {
	return startProgram(t, s, firmware+"device.c", defines...)
}

func startProgram(t *testing.T, s *sim, source string, defines ...string) *device {
	c := exec.Command(compileC(t, source, defines...))
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaints bytes.Buffer
	c.Stderr = &complaints
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := c.Wait(); err != nil {
			t.Errorf("the device: %v\n%s", err, complaints.Bytes())
		}
	})
	return &device{t: t, in: in, out: bufio.NewScanner(out), port: s.model.Open(5)}
}

// say sends a line and puts what the device answers on the bus.
func (d *device) say(format string, args ...any) {
	fmt.Fprintf(d.in, format+"\n", args...)
	for d.out.Scan() {
		if d.out.Text() == "." {
			return
		}
		f := parseFrame(d.t, strings.TrimPrefix(d.out.Text(), "frame "))
		if err := d.port.Send(&f); err != nil {
			d.t.Fatalf("%v: %v", &f, err)
		}
	}
	d.t.Fatal("the device has ended")
}

// act lets the device do what is due.
func (d *device) act(s *sim) {
	var fs [8]Frame
	n, _ := d.port.Receive(fs[:])
	room := func() int { return s.model.config.Mailbox - d.port.Queued() }
	d.say("now %d %d", room(), s.model.Now().Milliseconds())
	for i := range fs[:n] {
		if fs[i].Flags&FlagError == 0 {
			d.say("%s", frameLine(&fs[i]))
		}
	}
}

// withDevice makes a sim with one node and the device, and links them.
func withDevice(t *testing.T, m ModelConfig, defines ...string) (s *sim, d *device, c *Conn) {
	s = newSim(t, m, Config{Node: 1, Heartbeat: 100 * time.Millisecond})
	d = startDevice(t, s, defines...)
	s.others, s.pause = func() { d.act(s) }, time.Millisecond
	return s, d, s.dial(5)
}

// dial links the first node with a peer that is none of the sim's.
func (s *sim) dial(peer NodeID) *Conn {
	c, _, err := s.nodes[0].begin(peer)
	if err != nil {
		s.t.Fatal(err)
	}
	s.until("linked with the device", func() bool { return c.stage == stageOpen })
	s.t.Cleanup(func() { c.Close() })
	return c
}

func TestCallsToFirmware(t *testing.T) {
	for _, v := range []struct {
		name    string
		fd      bool
		defines []string
	}{
		{"classic", false, nil},
		{"classic, tables", false, []string{"-DCELL_CAN_BITS=3u"}},
		{"a device that can do FD", true, []string{"-DCELL_CAN_DATA=64u", "-DCELL_CAN_WINDOW=16u"}},
		{"a classic device on an FD bus", true, nil},
	} {
		t.Run(v.name, func(t *testing.T) {
			s, d, c := withDevice(t, ModelConfig{FD: v.fd}, v.defines...)
			if want := v.fd && len(v.defines) > 0; c.FD() != want {
				t.Errorf("FD frames: %t, want %t", c.FD(), want)
			}
			for i := range 300 {
				n := i % 8
				if i%5 == 4 {
					n = i
				}
				h := wire.Header{Fingerprint: 0x0123456789abcdef, Kind: wire.KindRequest, Correlation: uint32(i), Hops: 16}
				data := 0
				s.seen = func(f *Frame) {
					if f.ID.Class() != ClassControl {
						data++
					}
				}
				s.send(c, h, numbered(i, n))
				r := s.receive(c)
				h.Kind, h.Length = wire.KindReply, uint32(n)
				if r.Header != h || !bytes.Equal(r.Payload, numbered(i, n)) {
					t.Fatalf("call %d of %d bytes: %+v % x", i, n, r.Header, r.Payload)
				}
				if i > 20 && n <= ShortPayload && data != 2 {
					t.Fatalf("call %d of %d bytes took %d frames", i, n, data)
				}
			}
			for _, x := range []struct {
				print  uint64
				status wire.Status
			}{{0xfedcba9876543210, wire.StatusOutOfRange}, {0x5555555555555555, wire.StatusUnimplemented}, {99, wire.StatusUnimplemented}} {
				s.send(c, wire.Header{Fingerprint: x.print, Kind: wire.KindRequest, Correlation: 7}, []byte("x"))
				r := s.receive(c)
				if r.Header.Kind != wire.KindError || r.Header.Fingerprint != x.print || r.Header.Correlation != 7 || r.Payload[0] != byte(x.status) {
					t.Errorf("%x: %+v % x, want status %d", x.print, r.Header, r.Payload, x.status)
				}
			}
			for n := range 300 {
				d.act(s)
				d.say("event %d", n)
				if e := s.receive(c); e.Header.Kind != wire.KindEvent || !bytes.Equal(e.Payload, bytes.Repeat([]byte{byte(n)}, n)) {
					t.Fatalf("event of %d bytes: %+v % x", n, e.Header, e.Payload)
				}
			}
		})
	}
}

// Many calls at once: the device has one buffer a direction and no queue, so it
// makes the host repeat what comes too early. Nothing is lost or answered twice.
func TestFirmwareUnderLoad(t *testing.T) {
	s, _, c := withDevice(t, ModelConfig{})
	const calls = 400
	seen := map[uint32]int{}
	var in [8]wire.Vesicle
	take := func() {
		n, err := c.Poll(in[:])
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range in[:n] {
			if !bytes.Equal(v.Payload, numbered(int(v.Header.Correlation), len(v.Payload))) {
				t.Errorf("reply %d: % x", v.Header.Correlation, v.Payload)
			}
			seen[v.Header.Correlation]++
		}
		c.Release(n)
	}
	for i := range calls {
		h := wire.Header{Fingerprint: 0x0123456789abcdef, Kind: wire.KindRequest, Correlation: uint32(i), Hops: 16}
		s.send(c, h, numbered(i, i%40))
		take()
	}
	s.until("all replies", func() bool { take(); return len(seen) == calls })
	for i, n := range seen {
		if n != 1 {
			t.Errorf("call %d was answered %d times", i, n)
		}
	}
}

// With losses, a reply is right or does not come, and a link can always be had
// again.
func TestFirmwareOnLossyBus(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	t.Run("one frame in 50", func(t *testing.T) {
		callsOverLoss(t, func(*Port, *Frame) bool { return rng.IntN(50) == 0 })
	})
	runs := &losses{rng: rng}
	t.Run("as many as the numbers tell apart", func(t *testing.T) {
		callsOverLoss(t, func(p *Port, f *Frame) bool {
			if rng.IntN(150) == 0 {
				runs.begin()
				runs.run = min(runs.run, 33)
			}
			return runs.drop(p, f)
		}, "-DCELL_CAN_WINDOW=64u")
	})
}

// call sends one request of n bytes and returns when its answer has come.
func (s *sim) call(c *Conn, i, n int) {
	s.t.Helper()
	h := wire.Header{Fingerprint: 0x0123456789abcdef, Kind: wire.KindRequest, Correlation: uint32(i), Hops: 16}
	s.send(c, h, numbered(i, n))
	if v := s.receive(c); v.Header.Kind != wire.KindReply || v.Header.Correlation != uint32(i) || !bytes.Equal(v.Payload, numbered(i, n)) {
		s.t.Fatalf("call %d: %+v % x", i, v.Header, v.Payload)
	}
}

// A host whose kernel dropped frames does not know of which node they were, and
// calls it a gap on all of its links. A device from which nothing is missing says
// that it goes on, and no link ends.
func TestFirmwareAnswersAGapThatIsNone(t *testing.T) {
	for _, v := range []struct {
		name    string
		reports int
		drop    func(f *Frame, nth int) bool // of the device's control frames
	}{
		{"once", 1, nil},
		{"again and again, before the device has answered", 5, nil},
		{"and the device's resume is lost", 1, func(f *Frame, nth int) bool { return f.ID.Detail()>>opShift == opResume && nth == 0 }},
		{"and two of them", 2, func(f *Frame, nth int) bool { return f.ID.Detail()>>opShift == opResume && nth < 2 }},
	} {
		t.Run(v.name, func(t *testing.T) {
			resumes := 0
			s, _, c := withDevice(t, ModelConfig{Drop: func(_ *Port, f *Frame) bool {
				if v.drop == nil || f.ID.From() != 5 || f.ID.Class() != ClassControl {
					return false
				}
				gone := v.drop(f, resumes)
				if gone {
					resumes++
				}
				return gone
			}})
			for i := range 10 {
				s.call(c, i, i)
				resumes = 0
				for range v.reports {
					s.nodes[0].overran(1)
					s.step()
				}
				if i%2 == 0 {
					s.idle(time.Second)
				}
			}
			s.call(c, 100, 30)
			if err := c.CheckPeer(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Each frame of a reply may be lost, the last ones among them, behind which
// nothing comes: the device has the reply still, and sends it again.
func TestFirmwareSendsAReplyAgain(t *testing.T) {
	for _, v := range []struct {
		name    string
		fd      bool
		defines []string
	}{
		{"classic", false, nil},
		{"FD", true, []string{"-DCELL_CAN_DATA=64u"}},
	} {
		t.Run(v.name, func(t *testing.T) {
			before, lose := 0, 0 // data frames of the device to pass, and then to lose
			s, _, c := withDevice(t, ModelConfig{FD: v.fd, Drop: func(_ *Port, f *Frame) bool {
				if f.ID.From() != 5 || f.ID.Class() == ClassControl || lose == 0 {
					return false
				}
				if before > 0 {
					before--
					return false
				}
				lose--
				return true
			}}, v.defines...)
			call := 0
			for _, size := range []int{0, 3, 7, 8, 40, 150, 290} {
				for at := range 12 {
					for count := 1; count <= 3; count++ {
						before, lose = at, count
						s.call(c, call, size)
						lose = 0
						call++
					}
				}
			}
			if err := c.CheckPeer(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Once the next vesicle has taken the place of one that the host lacks, nobody
// has that any more: the link ends, and nothing wrong comes.
func TestFirmwareEndsALinkThatLacksAVesicle(t *testing.T) {
	lose := 0
	s, d, c := withDevice(t, ModelConfig{Drop: func(_ *Port, f *Frame) bool {
		if f.ID.From() == 5 && f.ID.Class() != ClassControl && lose > 0 {
			lose--
			return true
		}
		return false
	}})
	s.call(c, 1, 8)
	lose = 1
	d.say("event 5")
	d.act(s)
	d.say("event 6")
	var in [1]wire.Vesicle
	s.until("the end", func() bool {
		n, err := c.Poll(in[:])
		if n != 0 {
			t.Fatalf("%+v came, behind one that is lost", in[0].Header)
		}
		return err != nil
	})
	c = s.dial(5)
	s.call(c, 2, 8)
}

// Requests ahead of replies, events in between, frames lost in both directions and
// reports of losses that are none: what comes on one link comes in order, once and
// without a hole, and where the device can't mend a loss, the link ends.
func TestFirmwareUnderLoadOnLossyBus(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 1))
	lossy := false
	s, d, c := withDevice(t, ModelConfig{Drop: func(*Port, *Frame) bool { return lossy && rng.IntN(100) == 0 }}, "-DCELL_CAN_WINDOW=32u")
	lossy = true
	links, replies, sent, next, event, seen := 1, 0, 0, 0, 0, -1
	var v [8]wire.Vesicle
	for range 12_000 {
		s.step()
		if c.CheckPeer() != nil {
			c.Close()
			c = s.dial(5)
			links++
			next, seen = sent, event-1
		}
		switch rng.IntN(30) {
		case 0:
			h := wire.Header{Fingerprint: 0x0123456789abcdef, Kind: wire.KindRequest, Correlation: uint32(sent), Hops: 16}
			if n, _ := c.Claim(v[:1], sent%30); n == 1 {
				copy(v[0].Payload, numbered(sent, sent%30))
				v[0].Header = h
				if c.Commit(v[:1]) == nil && c.Flush() == nil {
					sent++
				}
			}
		case 1:
			d.say("event %d", event%250)
			event++
		case 2:
			if rng.IntN(20) == 0 {
				s.nodes[0].overran(1)
			}
		}
		n, _ := c.Poll(v[:])
		for _, x := range v[:n] {
			switch {
			case x.Header.Kind == wire.KindEvent: // some had no room in the device, which is no loss
				i := seen + 1
				for i < event && !bytes.Equal(x.Payload, bytes.Repeat([]byte{byte(i % 250)}, i%250)) {
					i++
				}
				if i >= event {
					t.Fatalf("an event of %d bytes, behind number %d of %d", len(x.Payload), seen, event)
				}
				seen = i
			case x.Header.Correlation != uint32(next) || !bytes.Equal(x.Payload, numbered(next, next%30)):
				t.Fatalf("link %d: %+v, reply %d is the next", links, x.Header, next)
			default:
				next++
				replies++
			}
		}
		if n > 0 {
			c.Release(n)
		}
	}
	if replies < 100 || seen < 100 {
		t.Errorf("%d replies of %d, up to event %d of %d: that tries little", replies, sent, seen, event)
	}
	t.Logf("%d replies to %d requests, over %d links", replies, sent, links)
}

func callsOverLoss(t *testing.T, drop func(*Port, *Frame) bool, defines ...string) {
	lossy := false
	s, _, c := withDevice(t, ModelConfig{Drop: func(p *Port, f *Frame) bool { return lossy && drop(p, f) }}, defines...)
	answered, links := 0, 1
	lossy = true
	for i := range 150 {
		n := i % 30
		h := wire.Header{Fingerprint: 0x0123456789abcdef, Kind: wire.KindRequest, Correlation: uint32(i), Hops: 16}
		if c.CheckPeer() != nil {
			c.Close()
			c = s.dial(5)
			links++
		}
		var v [1]wire.Vesicle
		if k, _ := c.Claim(v[:], n); k == 0 {
			continue
		}
		copy(v[0].Payload, numbered(i, n))
		v[0].Header = h
		if c.Commit(v[:]) != nil || c.Flush() != nil {
			continue
		}
		s.until("an answer, or the end", func() bool {
			k, err := c.Poll(v[:])
			if k == 1 {
				if v[0].Header.Correlation != uint32(i) || !bytes.Equal(v[0].Payload, numbered(i, n)) {
					t.Fatalf("call %d: %+v % x", i, v[0].Header, v[0].Payload)
				}
				answered++
				c.Release(1)
			}
			return k == 1 || err != nil
		})
	}
	if answered < 100 {
		t.Errorf("%d of 150 calls were answered", answered)
	}
	t.Logf("%d of 150 calls were answered, over %d links", answered, links)
}

// A device with two methods, with everything of cell.h that it needs, main and
// the table of methods counted; the buffers not.
func TestSize(t *testing.T) {
	cc, err := exec.LookPath("arm-none-eabi-gcc")
	if err != nil {
		t.Skip("arm-none-eabi-gcc is not installed: apt-get install gcc-arm-none-eabi")
	}
	const buffers = 2 * (64 + 19)
	for _, v := range []struct {
		cpu       string
		text, ram int
	}{{"cortex-m3", 2560, 256}, {"cortex-m0", 2560, 256}} {
		object := filepath.Join(t.TempDir(), "size.o")
		args := []string{"-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Os", "-mcpu=" + v.cpu, "-mthumb", "-ffreestanding",
			"-c", firmware + "size.c", "-o", object}
		if out, err := exec.Command(cc, args...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		out, err := exec.Command("arm-none-eabi-size", object).Output()
		if err != nil {
			t.Fatal(err)
		}
		var text, data, bss int
		if _, err := fmt.Sscan(strings.SplitN(string(out), "\n", 2)[1], &text, &data, &bss); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d bytes of text, %d of RAM beside the buffers", v.cpu, text, data+bss-buffers)
		if text > v.text || data+bss-buffers > v.ram {
			t.Errorf("%s: %d bytes of text and %d of RAM, at most %d and %d", v.cpu, text, data+bss-buffers, v.text, v.ram)
		}
	}
}
