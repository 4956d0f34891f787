package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cell-runtime/cell/cmd/cellbench/internal/bench"
	"github.com/cell-runtime/cell/cmd/cellbench/internal/netbench"
	"github.com/cell-runtime/cell/cmd/cellbench/internal/report"
	"github.com/cell-runtime/cell/ebpf"
)

// runVeth measures between two hosts that it makes: veth -- rtt|stream [flags].
func runVeth(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	kind := report.KindRTT
	asked := len(args) > 0 && (args[0] == report.KindRTT || args[0] == report.KindStream)
	if asked {
		kind, args = args[0], args[1:]
	}
	o := newFlags("veth -- rtt|stream", "Measures between two network namespaces with veth between them, made for it and gone with it; beside spinning kernel UDP and what XDP itself can do. Needs root.")
	f := o.set
	linkName := f.String("link", "all", "afxdp, asavie (afxdp by asavie/xdp's sockets), udp, both (afxdp and udp), all, bare (sockets without a link: from C, from the kernel's generator, with threaded NAPI), or names of those with commas between them, such as afxdp,xdp-echo")
	mode := f.String("mode", "auto", "where the XDP program runs: auto, driver or generic")
	f.StringVar(&o.size, "size", "64", "`BYTES` of a whole vesicle: commit word (4), header (20), payload. K, M suffixes")
	f.IntVar(&o.spec.Batch, "batch", 1, "stream: vesicles published at once; they share datagrams")
	f.DurationVar(&o.spec.Duration, "duration", 3*time.Second, "of all rounds of one contestant")
	f.DurationVar(&o.spec.Warmup, "warmup", 20*time.Millisecond, "of each round, not counted")
	f.IntVar(&o.spec.Rounds, "rounds", 5, "rounds, in which the contestants take turns")
	reliable := f.Bool("reliable", false, "every vesicle arrives, once and in order")
	if err := o.parse(args); err != nil {
		return err
	}
	if !asked {
		return usageError("veth measures rtt or stream: cellbench veth -- rtt --link afxdp")
	}
	s, err := vethSpec(o, kind, *linkName, *mode)
	if err != nil {
		return err
	}
	s.Reliable = *reliable
	if os.Geteuid() != 0 {
		return errors.New("network namespaces and AF_XDP need root, or CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF")
	}
	p := report.NewProgress(os.Stderr)
	defer p.Clear()
	results, err := netbench.Run(ctx, s, func(i, n int, name string) { p.Show(i, n, kind+" "+name) })
	if err != nil {
		return err
	}
	p.Clear()
	return o.emit(results, nil)
}

// vethSpec checks what the flags say.
func vethSpec(o *options, kind, linkName, mode string) (s netbench.Spec, err error) {
	s = netbench.Spec{Kind: kind, Size: o.spec.Size, Payload: o.spec.Payload(),
		Batch: o.spec.Batch, CPUs: o.spec.CPUs, Duration: o.spec.Duration, Rounds: o.spec.Rounds, Warmup: o.spec.Warmup}
	switch linkName {
	case netbench.LinkXDP, netbench.LinkAsavie, netbench.LinkUDP:
		s.Links = []string{linkName}
	case "both":
		s.Links = []string{netbench.LinkXDP, netbench.LinkUDP}
	case "bare":
		s.Links = netbench.Bare(kind)
	case "all":
		s.Links = netbench.Links()
	default:
		s.Links = strings.Split(linkName, ",")
		known := append(netbench.Links(), netbench.Bare(kind)...)
		for _, name := range s.Links {
			if !slices.Contains(known, name) {
				return s, usageError(fmt.Sprintf("--link %q: both, all, bare, or of %s some, with commas between them", linkName, strings.Join(known, ", ")))
			}
		}
	}
	modes := map[string]ebpf.Mode{"auto": ebpf.ModeAuto, "driver": ebpf.ModeDriver, "generic": ebpf.ModeGeneric}
	m, ok := modes[mode]
	if !ok {
		return s, usageError(fmt.Sprintf("--mode %q: auto, driver or generic", mode))
	}
	s.Mode = m
	switch {
	case s.Size < bench.Prefix || s.Size > netbench.MaxSize:
		return s, usageError(fmt.Sprintf("--size %d: from %d to %d, which fits one datagram", s.Size, bench.Prefix, netbench.MaxSize))
	case s.Batch < 1 || s.Batch > bench.MaxBatch || kind == report.KindRTT && s.Batch > 1:
		return s, usageError(fmt.Sprintf("--batch %d: from 1 to %d, for streams; calls go one by one", s.Batch, bench.MaxBatch))
	case s.Rounds < 1 || s.Rounds > bench.MaxRounds || s.Duration < time.Duration(s.Rounds)*10*time.Millisecond || s.Duration > time.Hour:
		return s, usageError(fmt.Sprintf("--duration %v, --rounds %d: 10 ms at least for each of up to %d rounds", s.Duration, s.Rounds, bench.MaxRounds))
	case s.Warmup < 0 || s.Warmup > time.Minute:
		return s, usageError(fmt.Sprintf("--warmup %v: from 0 to 1m", s.Warmup))
	}
	return s, nil
}
