//go:build race

package linktest

// raceEnabled: what the race detector does is counted, too.
const raceEnabled = true
