//go:build race

package ring

// raceEnabled: the race detector's own work is being measured, too.
const raceEnabled = true
