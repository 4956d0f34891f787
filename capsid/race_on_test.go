//go:build race

package capsid_test

// raceEnabled: cells of this binary need a loader and /proc, say so on stderr,
// and sleep for a second at their end. What they show of a sandbox is shown
// without the race detector.
const raceEnabled = true
