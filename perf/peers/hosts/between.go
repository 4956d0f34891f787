package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cell-runtime/cell/perf/peers/internal/wan"
)

// scene is a way between two hosts and what is measured over it.
type scene struct {
	name string
	open func() (*wan.Hosts, error)
	jobs []job
}

// job is one run of the calling side.
type job struct {
	work, who string
	extra     []string // flags
	note      string   // beside the contender's name
}

// outcome is everything that was measured in a scene, in order.
type outcome struct {
	Scene   string        `json:"scene"`
	Results []measurement `json:"results"`
	Packets wan.Counts    `json:"packets"`
}

const basePort = 7100

// between measures between two hosts that it makes and removes.
func between(kind string, args []string) error {
	set := flag.NewFlagSet("hosts "+kind, flag.ContinueOnError)
	var (
		delay   = set.Duration("delay", 25*time.Millisecond, "wan: one way")
		loss    = set.Float64("loss", 0.01, "wan: share of packets lost")
		reorder = set.Float64("reorder", 0.05, "wan: share of packets that overtake others")
		mbit    = set.Float64("mbit", 200, "wan: of the way's slowest part")
		queue   = set.Int("queue", 1000, "wan: packets that wait in front of it")
		mtu     = set.Int("mtu", 9000, "lan: of the cable")
		rounds  = set.Int("rounds", 3, "rounds")
		each    = set.Duration("each", 3*time.Second, "of one measurement")
		works   = set.String("works", "rtt,small,bulk,move", "which kinds of work")
		only    = set.String("scenes", "", "which of them, by their beginnings, separated by ';'; all if empty")
		out     = set.String("out", "", "a file for every measurement (JSON); the page, in Markdown, goes to standard output")
	)
	if err := set.Parse(args); err != nil {
		return err
	}
	scenes := lan(*mtu)
	if kind == "wan" {
		scenes = far(wan.Path{Delay: *delay, Loss: *loss, Reorder: *reorder, Mbit: *mbit, Queue: *queue})
	}
	var all []outcome
	for _, s := range scenes {
		if !chosen(s.name, *only) {
			continue
		}
		s.jobs = slices.DeleteFunc(s.jobs, func(j job) bool { return !slices.Contains(strings.Split(*works, ","), j.work) })
		o, err := s.play(*rounds, *each)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		all = append(all, o)
		if err := o.page(os.Stdout); err != nil {
			return err
		}
	}
	if *out == "" {
		return nil
	}
	b, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(*out, append(b, '\n'), 0o644)
}

func chosen(name, only string) bool {
	for _, begins := range strings.Split(only, ";") {
		if strings.HasPrefix(name, begins) {
			return true
		}
	}
	return false
}

// far are the scenes of a WAN: as it is, without reordering, and clean.
func far(p wan.Path) []scene {
	ring := []string{"--receive", strconv.Itoa(4 << 20)} // above what is on its way
	some := func(n int) []string { return append([]string{"--connections", strconv.Itoa(n)}, ring...) }
	bulk := []job{
		{"bulk", "quic-bare", some(1), ""}, {"bulk", "quic-bare", some(8), "8 connections"}, {"bulk", "quic-bare", some(32), "32 connections"},
		{"bulk", "cell-quic", some(1), ""}, {"bulk", "cell-quic-many", some(32), "32 connections"},
		{"bulk", "tls-bare", ring, ""}, {"bulk", "cell-tls", ring, ""}, {"bulk", "tls-bare-bbr", ring, ""}, {"bulk", "cell-tls-bbr", ring, ""},
	}
	small := []job{
		{"small", "quic-bare,cell-quic,tls-bare,cell-tls,cell-tls-bbr", nil, ""},
		{"small", "cell-quic", []string{"--lanes", "32"}, "32 lanes"},
		{"small", "cell-quic-many", []string{"--connections", "4"}, "4 connections"},
	}
	move := []job{{"move", "cell-quic", nil, ""}}
	steady, clean := p, p
	steady.Reorder = 0
	clean.Reorder, clean.Loss = 0, 0
	name := func(p wan.Path) string {
		s := fmt.Sprintf("%v round trip, %v Mbit/s", 2*p.Delay, p.Mbit)
		if p.Loss > 0 {
			s += fmt.Sprintf(", %.3g %% loss", 100*p.Loss)
		}
		if p.Reorder > 0 {
			s += fmt.Sprintf(", %.3g %% reordering", 100*p.Reorder)
		}
		return s
	}
	var scenes []scene
	for _, p := range []wan.Path{p, steady, clean} {
		var jobs []job
		jobs = append(append(append(jobs, small...), bulk...), move...)
		scenes = append(scenes, scene{name(p), func() (*wan.Hosts, error) { return wan.New(p) }, jobs})
	}
	return scenes
}

// lan are the scenes of two hosts on one cable.
func lan(mtu int) []scene {
	jobs := []job{
		{"rtt", "quic-bare,cell-quic,tls-bare,cell-tls", nil, ""},
		{"bulk", "quic-bare,cell-quic,tls-bare,cell-tls", nil, ""},
		{"bulk", "quic-bare", []string{"--connections", "4"}, "4 connections"},
		{"bulk", "cell-quic-many", []string{"--connections", "4"}, "4 connections"},
		{"bulk", "cell-tls-many", []string{"--connections", "2"}, "2 connections"},
		{"bulk", "cell-tls", []string{"--receive", strconv.Itoa(4 << 20)}, "a ring of 4 MiB"},
	}
	return []scene{{fmt.Sprintf("veth, MTU %d", mtu), func() (*wan.Hosts, error) { return wan.Cable(mtu) }, jobs}}
}

// play makes the hosts, a server on the second, and lets the first do its jobs.
func (s scene) play(rounds int, each time.Duration) (outcome, error) {
	o := outcome{Scene: s.name}
	hosts, err := s.open()
	if err != nil {
		return o, err
	}
	defer hosts.Close()
	self, err := os.Executable()
	if err != nil {
		return o, err
	}
	addr := join(wan.AddrB, basePort)
	server := process(self, "serve", addr, "--receive", strconv.Itoa(4<<20))
	if err := hosts.Start(1, server); err != nil {
		return o, err
	}
	defer func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	}()
	for range rounds {
		for _, j := range s.jobs {
			if j.work == "move" {
				continue
			}
			if err := o.do(hosts, self, addr, j, each); err != nil {
				return o, err
			}
		}
	}
	for _, j := range s.jobs {
		if j.work == "move" { // last: the host has another address from then on
			if err := o.do(hosts, self, addr, j, 3*each); err != nil {
				return o, err
			}
		}
	}
	o.Packets = hosts.Counts()
	return o, nil
}

// process is a child that ends with this process.
func process(self string, args ...string) *exec.Cmd {
	c := exec.Command(self, args...)
	c.Stderr = os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

// do runs one job on the first host and takes down what it prints.
func (o *outcome) do(hosts *wan.Hosts, self, addr string, j job, each time.Duration) error {
	args := append([]string{"call", addr, "--json", "--rounds", "1", "--each", each.String(), "--work", j.work, "--who", j.who}, j.extra...)
	c := process(self, args...)
	lines, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	if err := hosts.Start(0, c); err != nil {
		return err
	}
	defer func() { _ = c.Process.Kill() }()
	for in := bufio.NewScanner(lines); in.Scan(); {
		var m measurement
		if err := json.Unmarshal(in.Bytes(), &m); err != nil {
			return fmt.Errorf("%q: %w", in.Text(), err)
		}
		if m.Work == moveNow {
			if err := hosts.Move(); err != nil {
				return err
			}
			continue
		}
		if j.note != "" {
			m.Who += ", " + j.note
		}
		o.Results = append(o.Results, m)
	}
	_, _ = io.Copy(io.Discard, lines)
	if err := c.Wait(); err != nil {
		return fmt.Errorf("%s of %s: %w", j.work, j.who, err)
	}
	return nil
}
