//go:build race

package discovery

// raceOn: the race detector makes everything slow.
const raceOn = true
