package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// Every system does something of everything that it has, and the page is made
// of it.
func TestARoundOfEverything(t *testing.T) {
	var names []string
	for _, s := range systems {
		if !testing.Short() || s.name == "cell" || s.name == "etcd-raft" {
			names = append(names, s.name)
		}
	}
	dir := t.TempDir()
	var out, progress bytes.Buffer
	args := []string{"--only", strings.Join(names, ","), "--rounds", "1", "--duration", "20ms", "--warmup", "0s", "--dir", t.TempDir(), "--out", dir}
	if code := run(args, &out, &progress); code != exitOK {
		t.Fatalf("exit %d: %s", code, progress.String())
	}
	r, err := readReport(dir)
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, pageFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		found := false
		for _, s := range r.Samples {
			if s.System != name {
				continue
			}
			found = true
			// Some may fail: a leader can be lost where the host is busy.
			if s.Count == 0 && !strings.Contains(s.Error, errNotThere.Error()) {
				t.Errorf("%s: %s: nothing was answered, %d failed: %s", name, s.Work, s.Failed, s.Error)
			}
		}
		if !found || !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("nothing of %s", name)
		}
	}
}

func TestFlags(t *testing.T) {
	for args, want := range map[string]string{
		"--only nobody":     "no system",
		"--works none":      "no work",
		"--place elsewhere": "--place",
		"--groups 0":        "--groups",
		"--duration 1h":     "--duration",
		"--page":            "--out",
		"something":         "unexpected",
		"--tick 1h":         "--tick",
		"--size 0":          "--size",
	} {
		var out, complaints bytes.Buffer
		if code := run(strings.Fields(args), &out, &complaints); code != exitUsage || !strings.Contains(complaints.String(), want) {
			t.Errorf("%s: exit %d, %s", args, code, complaints.String())
		}
	}
}

func TestRatiosAreThoseOfRounds(t *testing.T) {
	s := func(system string, round int, count uint64) sample {
		return sample{Round: round, System: system, Place: oneProcess, Groups: 1, Work: sync1, tallies: tallies{Count: count, Elapsed: time.Second}}
	}
	r := &report{Samples: []sample{s("cell", 1, 50), s("dragonboat", 1, 100), s("cell", 2, 300), s("dragonboat", 2, 200), s("cell", 3, 7)}}
	v := spreadOf(r.ratios(row{oneProcess, 1, sync1, "cell"}, "dragonboat", rate))
	if v.least != 0.5 || v.most != 1.5 || v.median != 1 {
		t.Errorf("%+v", v)
	}
	if got := share(64, []answer{{Led: 0}, {Led: 5}, {Led: 11}}); got[0] != 0 || got[1] != 20 || got[2] != 44 {
		t.Errorf("shares %v", got)
	}
}
