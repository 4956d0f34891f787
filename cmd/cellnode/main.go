// Command cellnode runs, watches and evolves cells on a host. docs/CELLNODE.md
// describes every command.
package main

import (
	"os"

	"github.com/cell-runtime/cell/capsid/wasm"
	"github.com/cell-runtime/cell/cmd/cellnode/internal/cli"
)

func main() {
	wasm.Main() // the node runs this program again for each WebAssembly cell
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
