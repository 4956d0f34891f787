//go:build !race

package linktest

// raceEnabled: see the file with the tag.
const raceEnabled = false
