package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/perf/peers/internal/wan"
	"github.com/cell-runtime/cell/quic"
)

// strikes are what an attacker without a key that is let in does, until it is
// killed, to the server's socket.
var strikes = map[string]func(host string, port int) error{
	"nothing":             func(string, int) error { time.Sleep(time.Hour); return nil },
	"garbage":             func(host string, port int) error { return flood(join(host, port+portCellQUIC), 0x40) },
	"forged handshakes":   func(host string, port int) error { return flood(join(host, port+portCellQUIC), 0xc0) },
	"handshakes and stop": func(host string, port int) error { return halfOpen(join(host, port+portCellQUIC)) },
	"TLS that says nothing": func(host string, port int) error {
		return silent(join(host, port+portCellTLS))
	},
	"streams of strangers":   func(host string, port int) error { return strangers(join(host, port+portCellQUIC), sendStreams) },
	"datagrams of strangers": func(host string, port int) error { return strangers(join(host, port+portCellQUIC), sendDatagrams) },
}

// order is in which strikes are measured.
var order = []string{"nothing", "garbage", "forged handshakes", "handshakes and stop", "TLS that says nothing", "streams of strangers", "datagrams of strangers"}

// elsewhere is the attacker's address: bounds count by address, so who shares one
// with an attacker is refused with it.
var elsewhere = net.ParseIP(wan.AddrMoved)

// flood sends random datagrams of a full packet's length as fast as it can. With
// the form bit they look like the first packets of handshakes.
func flood(addr string, form byte) error {
	from := net.Dialer{LocalAddr: &net.UDPAddr{IP: elsewhere}}
	c, err := from.Dial("udp", addr)
	if err != nil {
		return err
	}
	b := make([]byte, 1200)
	for n := uint64(0); ; n++ {
		for i := 0; i < 64; i++ {
			b[i] = byte(rand.Uint32())
		}
		b[0] = form | b[0]&0x0f
		if form&0x80 != 0 { // version 1, connection IDs of 8 bytes, no token
			copy(b[1:], []byte{0, 0, 0, 1, 8})
			b[14], b[23], b[24], b[25] = 8, 0, 0x44, 0x96
		}
		_, _ = c.Write(b)
	}
}

// deaf is a socket that hears nothing.
type deaf struct{ *net.UDPConn }

func (d deaf) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		if _, _, err := d.UDPConn.ReadFrom(b); err != nil {
			return 0, nil, err
		}
	}
}

// noOOB hides what would let quic-go read past ReadFrom.
type noOOB struct{ net.PacketConn }

// halfOpen begins handshakes and never goes on with them.
func halfOpen(addr string) error {
	at, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return err
	}
	c, err := identity.NewCredentials(key(9))
	if err != nil {
		return err
	}
	trust := &identity.Trust{}
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			for {
				s, err := net.ListenUDP("udp", &net.UDPAddr{IP: elsewhere})
				if err != nil {
					return
				}
				t := &quicgo.Transport{Conn: noOOB{deaf{s}}}
				ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
				_, _ = t.Dial(ctx, at, identity.ClientTLS(c, trust, identity.ID{}, quic.ALPN), nil)
				cancel()
				_ = t.Close()
				_ = s.Close()
			}
		})
	}
	all.Wait()
	return nil
}

// silent keeps a thousand TCP connections open, and says nothing on them.
func silent(addr string) error {
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: elsewhere}, Timeout: time.Second}
	var all sync.WaitGroup
	for range 1000 {
		all.Go(func() {
			for {
				if c, err := from.Dial("tcp", addr); err == nil {
					_, _ = c.Read(make([]byte, 1))
					_ = c.Close()
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	all.Wait()
	return nil
}

// suffered is what the server spent and what an honest caller saw.
type suffered struct {
	CPU      float64 // share of one core
	Attacker float64 // what the attacker spent: that it did something
	Memory   float64 // MiB, the most
	Values   map[string]float64
}

// attack has each strike hit a server for a while, on hosts of namespaces.
func attack(each time.Duration) error {
	hosts, err := wan.Cable(1500)
	if err != nil {
		return err
	}
	defer hosts.Close()
	if err := hosts.Also(); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	fmt.Print("| the attacker sends | attacker's CPU, of one core | server's CPU | server's memory, MiB | honest p50, µs | honest p99, µs |\n|---|---|---|---|---|---|\n")
	for _, strike := range order {
		s, err := suffer(hosts, self, strike, each)
		if err != nil {
			return fmt.Errorf("%s: %w", strike, err)
		}
		fmt.Printf("| %s | %.2f | %.2f | %.0f | %.0f | %.0f |\n", strike, s.Attacker, s.CPU, s.Memory, s.Values["p50 µs"], s.Values["p99 µs"])
	}
	return nil
}

// child is a process that must live as long as it is measured.
type child struct {
	*exec.Cmd
	name string
	died chan error
}

func begin(hosts *wan.Hosts, host int, name string, c *exec.Cmd) (*child, error) {
	if err := hosts.Start(host, c); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	p := &child{c, name, make(chan error, 1)}
	go func() { p.died <- c.Wait() }()
	return p, nil
}

// alive returns an error if the process has ended.
func (p *child) alive() error {
	select {
	case err := <-p.died:
		p.died <- err
		return fmt.Errorf("%s ended before its time: %w", p.name, errors.Join(err, errEnded))
	default:
		return nil
	}
}

var errEnded = errors.New("so what was measured is nothing")

func (p *child) kill() {
	_ = p.Process.Kill()
	<-p.died
}

// suffer has a strike hit a server and measures both and an honest caller.
func suffer(hosts *wan.Hosts, self, strike string, each time.Duration) (s suffered, err error) {
	addr := join(wan.AddrB, basePort)
	server, err := begin(hosts, 1, "the server", process(self, "serve", addr))
	if err != nil {
		return s, err
	}
	defer server.kill()
	time.Sleep(500 * time.Millisecond)
	attacker, err := begin(hosts, 0, "the attacker", process(self, "strike", addr, strike))
	if err != nil {
		return s, err
	}
	defer attacker.kill()
	time.Sleep(500 * time.Millisecond)
	spent := func() (ofServer, ofAttacker time.Duration) {
		return cpuOf(server.Process.Pid), cpuOf(attacker.Process.Pid)
	}
	serverBefore, attackerBefore := spent()
	start := time.Now()
	stop, most := make(chan struct{}), make(chan float64)
	go func() { most <- greatestMemory(server.Process.Pid, stop) }()
	honest := process(self, "call", addr, "--json", "--rounds", "1", "--each", each.String(), "--work", "small", "--who", "cell-quic")
	var out strings.Builder
	honest.Stdout = &out
	if err = hosts.Start(0, honest); err == nil {
		err = honest.Wait()
	}
	close(stop)
	s.Memory = <-most
	serverAfter, attackerAfter := spent()
	took := time.Since(start).Seconds()
	s.CPU, s.Attacker = (serverAfter-serverBefore).Seconds()/took, (attackerAfter-attackerBefore).Seconds()/took
	if err := errors.Join(err, server.alive(), attacker.alive()); err != nil {
		return s, err
	}
	var m measurement
	if err := json.Unmarshal([]byte(out.String()), &m); err != nil {
		return s, err
	}
	s.Values = m.Values
	return s, nil
}

// greatestMemory looks at a process until stop.
func greatestMemory(pid int, stop <-chan struct{}) (greatest float64) {
	for {
		select {
		case <-stop:
			return greatest
		case <-time.After(20 * time.Millisecond):
			greatest = max(greatest, memoryOf(pid))
		}
	}
}

// cpuOf returns what a process has used of processors (proc(5), stat).
func cpuOf(pid int) time.Duration {
	b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	const tick = 10 * time.Millisecond // USER_HZ is 100 on Linux
	return time.Duration(user+system) * tick
}

// memoryOf returns the MiB that a process has resident.
func memoryOf(pid int) float64 {
	b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return 0
	}
	pages, _ := strconv.Atoi(f[1])
	return float64(pages) * float64(syscall.Getpagesize()) / (1 << 20)
}
