//go:build !amd64

package bulk

const movesStrings, movesLines = false, false

func moveString(*byte, *byte, uintptr) {}

func moveLines(*byte, *byte, uintptr) {}
