//go:build !amd64 && !arm64

package capsid

// shimProgram has not been built for this architecture: Probe says so, and no
// backend that runs processes starts any.
var shimProgram []byte
