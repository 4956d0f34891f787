//go:build amd64 || arm64

package ring

// pause hints to the core that the caller spins.
//
//go:noescape
func pause()
