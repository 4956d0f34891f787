//go:build amd64 || arm64

package ring

import "unsafe"

// prefetchWrite asks for consecutive cache lines from p on, in order to write
// to them. It waits for nothing and changes nothing.
//
//go:noescape
func prefetchWrite(p unsafe.Pointer, lines uint64)
