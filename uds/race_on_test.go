//go:build race

package uds

// raceEnabled: the detector's hooks allocate.
const raceEnabled = true
