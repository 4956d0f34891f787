package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
)

// profileVariable names a directory into which both processes of a
// measurement write CPU profiles; perf/pgo.sh makes default.pgo of them. The
// peer process inherits it, which a flag would not be.
const profileVariable = "CELLBENCH_CPUPROFILE"

// profiled is run, with a CPU profile where profileVariable asks for one. The
// sampling signals disturb what is measured.
func profiled(args []string) int {
	dir := os.Getenv(profileVariable)
	if dir == "" {
		return run(args)
	}
	name := filepath.Join(dir, fmt.Sprintf("cellbench-%d.pprof", os.Getpid()))
	f, err := os.Create(name)
	if err == nil {
		err = pprof.StartCPUProfile(f)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "cellbench: no CPU profile: %v; let %s name a directory that exists, or unset it\n", err, profileVariable)
		return exitFailed
	}
	code := run(args)
	pprof.StopCPUProfile()
	if err := f.Close(); err != nil {
		fmt.Fprintf(os.Stderr, "cellbench: the CPU profile %s is incomplete: %v\n", name, err)
		return exitFailed
	}
	return code
}
