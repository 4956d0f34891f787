package capsid

import _ "embed"

// shimProgram is shim/shim.c, built by shim/build.sh.
//
//go:embed shim/shim_arm64.elf
var shimProgram []byte
