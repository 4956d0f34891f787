package capsid

import _ "embed"

// shimProgram is shim/shim.c, built by shim/build.sh.
//
//go:embed shim/shim_amd64.elf
var shimProgram []byte
