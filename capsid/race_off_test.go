//go:build !race

package capsid_test

const raceEnabled = false
