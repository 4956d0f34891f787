// Command cellgen turns a Go file with a marked interface, or a description
// written by hand, into clients, servers, views and codecs. docs/CELLGEN.md
// describes it; cellgen --help is short.
package main

import (
	"os"

	"github.com/cell-runtime/cell/cmd/cellgen/internal/command"
)

func main() { os.Exit(command.Run(os.Args[1:], os.Getenv, os.Stdout, os.Stderr)) }
