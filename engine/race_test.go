//go:build race

package engine_test

// raceDetector: the detector makes buffers of system calls escape, so counts of
// allocations mean nothing.
const raceDetector = true
