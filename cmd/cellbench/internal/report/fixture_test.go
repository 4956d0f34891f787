package report

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// fixtureHost is a host of whose fields none is left at zero.
func fixtureHost() *Host {
	return &Host{
		Kernel: "6.12.9", Arch: "amd64", CPU: "Example 9000 16-Core Processor", CPUID: "Example-25-17-1",
		CPUs: []int{2, 3}, Pinning: "sender on CPU 2, receiver on CPU 3, SCHED_OTHER",
		CPUsOnline: 16, CPUQuota: new(4.0), SMT: "off", Governor: "performance", Isolated: "2-3", NoHZFull: "2-3",
		Clock: "tsc", HugePages: "madvise", Virtual: "vm", Container: "docker",
		Go: "go1.26.0", GOMAXPROCS: 2, GOGC: "100", GOMEMLIMIT: "off", GODEBUG: "asyncpreemptoff=1",
		Commit: "0123456789abcdef0123456789abcdef01234567", Dirty: true,
	}
}

// fixtureTimes draws n times around a typical one, with a tail like that of a
// real host: rare gaps that grow with their rarity. It is the same each time.
func fixtureTimes(seed uint64, n int, typical float64) Distribution {
	r := rand.New(rand.NewPCG(seed, 42))
	ns := make([]float64, n)
	for i := range ns {
		v := typical * (1 + 0.05*math.Abs(r.NormFloat64()))
		if u := r.Float64(); u > 0.99 {
			v += typical * 0.1 * math.Pow(1/(1-u)/100, 0.8)
		}
		ns[i] = math.Round(v)
	}
	return FromSamples(ns)
}

type fixture struct {
	got, limit     Setting
	typical, bare  float64 // ns; 0 for none
	perS, barePerS float64
	samples        int
}

// fixtureResult combines five rounds that differ a little.
func fixtureResult(t testing.TB, f fixture) Result {
	t.Helper()
	sample := func(round int, s Setting, typical, perS float64, n int) Sample {
		wobble := 1 + 0.02*float64(round-2)
		out := Sample{}
		if typical > 0 {
			out.Times = fixtureTimes(uint64(round)*7919+uint64(s.Size)+uint64(typical), n, typical*wobble)
		}
		if perS > 0 {
			out.Elapsed = 500 * time.Millisecond
			out.Count = uint64(perS / wobble / 2)
			out.Bytes = out.Count * uint64(s.Payload)
		}
		return out
	}
	var rounds []Round
	for i := range 5 {
		r := Round{Got: sample(i, f.got, f.typical, f.perS, f.samples)}
		if f.limit.Kind != "" {
			l := sample(i, f.limit, f.bare, f.barePerS, f.samples)
			r.Limit = &l
		}
		rounds = append(rounds, r)
	}
	res, err := Combine(f.got, f.limit, rounds)
	if err != nil {
		t.Fatal(err)
	}
	res.Started = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	res.Host = fixtureHost()
	return res
}

// fixtureReport is like what the main job measures.
func fixtureReport(t testing.TB) Report {
	t.Helper()
	rtt := func(link, wait string) Setting {
		return Setting{Kind: KindRTT, Link: link, Size: 64, Payload: 40, Wait: wait, Loop: Closed}
	}
	stream := func(link string, size, payload, batch int) Setting {
		return Setting{Kind: KindStream, Link: link, Size: size, Payload: payload, Batch: batch, Wait: "spin", Loop: Closed}
	}
	limit := func(link string, size, batch int) Setting {
		return Setting{Kind: KindLimit, Link: link, Size: size, Payload: size, Batch: batch, Wait: "spin", Loop: Closed}
	}
	open := rtt("ring", "spin")
	open.Rate, open.Loop = 50_000, Open
	fixtures := []fixture{
		{got: rtt("ring", "spin"), limit: limit("cacheline", 64, 1), typical: 112, bare: 105, samples: 20_000},
		{got: rtt("ring", "park"), limit: limit("cacheline", 64, 1), typical: 52_300, bare: 105, samples: 2_000},
		{got: rtt("uds", "spin"), limit: limit("cacheline", 64, 1), typical: 3_420, bare: 105, samples: 20_000},
		{got: open, limit: limit("cacheline", 64, 1), typical: 131, bare: 105, samples: 20_000},
		{got: stream("ring", 64, 40, 1), limit: limit("c-ring", 64, 1), perS: 81e6, barePerS: 96e6},
		{got: stream("ring", 64, 40, 32), limit: limit("c-ring", 64, 32), perS: 183e6, barePerS: 228e6},
		{got: stream("uds", 64, 40, 32), perS: 21e6},
		{got: stream("ring", 1024, 1000, 1), limit: limit("copy", 1024, 1), perS: 18e6, barePerS: 19.2e6},
		{got: stream("ring", 1<<20, 1<<20, 1), limit: limit("copy", 1<<20, 1), perS: 44_100, barePerS: 46_700},
		{got: stream("uds", 1<<20, 1<<20, 1), limit: limit("copy", 1<<20, 1), perS: 4_400, barePerS: 46_700},
	}
	var rep Report
	rep.Host = fixtureHost()
	for _, f := range fixtures {
		r := fixtureResult(t, f)
		r.Path = map[string]string{"ring": "ring over memfd", "uds": "unix stream socket"}[r.Link]
		rep.Results = append(rep.Results, r)
	}
	rep.Results[2].Why = []string{"rings were not asked for"}
	rep.Results[9].Input, rep.Results[9].SHA256 = "/data/photos.tar", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	gaps := fixtureResult(t, fixture{got: Setting{Kind: KindJitter, Link: "cpu 2", Wait: "spin"}, typical: 11_000, samples: 2_200})
	gaps.Jitter = &Jitter{ThresholdNS: 10_000, ObservedS: 5, GapsPerS: 440, LostShare: 0.0104, Findings: []Finding{
		{Severity: "warning", What: "no isolated CPUs", Evidence: "/sys/devices/system/cpu/isolated is empty", Fix: "boot with isolcpus=2-3 nohz_full=2-3"},
	}}
	gaps.Notes = []string{"a virtual machine: gaps may be the hypervisor's"}
	rep.Results = append(rep.Results, gaps)
	return rep
}
