// Cellc writes a C99 header of a service's canonical description: the structs of
// its messages, its fingerprints, and the dispatch table that cell.h works with.
//
//	go run github.com/cell-runtime/cell/firmware/cellc -o device_cell.h device.cell
//
// Only what has a fixed size can be a C struct; a message with a string, bytes
// or a slice is refused with its name.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cell-runtime/cell/schema"
)

func main() {
	if err := run(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "cellc: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("cellc", flag.ContinueOnError)
	out := flags.String("o", "", "the header to write; NAME_cell.h beside NAME.cell without it")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("usage: cellc [-o FILE.h] FILE.cell")
	}
	name := flags.Arg(0)
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	s, err := schema.Parse(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	base := strings.TrimSuffix(filepath.Base(name), ".cell")
	header, err := Generate(s, base)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if *out == "" {
		*out = filepath.Join(filepath.Dir(name), base+"_cell.h")
	}
	return os.WriteFile(*out, []byte(header), 0o644)
}
