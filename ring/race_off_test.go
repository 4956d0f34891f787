//go:build !race

package ring

// raceEnabled: see the file with the tag.
const raceEnabled = false
