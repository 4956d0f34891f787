//go:build race

package linktest

// raceEnabled: golang.org/x/sys/unix tells the race detector about the memory that
// it hands to the kernel, by which that memory escapes to the heap.
const raceEnabled = true
