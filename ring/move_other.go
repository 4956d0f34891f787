//go:build !amd64

package ring

const movesStrings = false

func moveString(*byte, *byte, uintptr) {}
