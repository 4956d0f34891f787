package command

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/cell-runtime/cell/cmd/cellgen/internal/gosrc"
	"github.com/cell-runtime/cell/schema"
)

func runDiff(env environment, args []string) (int, error) {
	operands, err := parse(env, newFlags("cellgen diff"), "cellgen diff OLD NEW, each a .cell or a .go file; exits with 1 where a method became a new endpoint or is gone", args)
	if err != nil {
		return 0, err
	}
	if len(operands) != 2 {
		return 0, fmt.Errorf("diff compares two files, OLD and NEW: %w", errUsage)
	}
	older, err := read(operands[0])
	if err != nil {
		return 0, err
	}
	newer, err := read(operands[1])
	if err != nil {
		return 0, err
	}
	code := exitOK
	for _, c := range schema.Diff(older, newer) {
		fmt.Fprintln(env.stdout, c)
		if c.Verdict == schema.NewEndpoint || c.Verdict == schema.Removed {
			code = exitFound
		}
	}
	return code, nil
}

// read reads the schema that a description or a Go file says.
func read(name string) (*schema.Schema, error) {
	if filepath.Ext(name) == ".go" {
		source, err := gosrc.Load(name)
		if err != nil {
			return nil, err
		}
		return source.Schema, nil
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	s, err := schema.Parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}
