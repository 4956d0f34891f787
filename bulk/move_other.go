//go:build !amd64

package bulk

const movesStrings = false

func moveString(*byte, *byte, uintptr) {}
