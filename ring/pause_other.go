//go:build !amd64 && !arm64

package ring

// pause does nothing where there is no such hint.
func pause() {}
