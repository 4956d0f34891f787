package command

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cell-runtime/cell/cmd/cellgen/internal/cgen"
	"github.com/cell-runtime/cell/schema"
)

const usageC = "cellgen c [-o FILE.h] FILE.cell"

// runC writes a C header for firmware.
func runC(env environment, args []string) (int, error) {
	flags := newFlags("c")
	out := flags.String("o", "", "the header to write; NAME_cell.h beside NAME.cell without it")
	operands, err := parse(env, flags, usageC, args)
	if err != nil {
		return exitUsage, err
	}
	if len(operands) != 1 {
		return exitUsage, fmt.Errorf("usage: %s: %w", usageC, errUsage)
	}
	name := operands[0]
	text, err := os.ReadFile(name)
	if err != nil {
		return exitFound, err
	}
	s, err := schema.Parse(string(text))
	if err != nil {
		return exitFound, fmt.Errorf("%s: %w", name, err)
	}
	base := strings.TrimSuffix(filepath.Base(name), ".cell")
	header, err := cgen.Generate(s, base)
	if err != nil {
		return exitFound, fmt.Errorf("%s: %w", name, err)
	}
	if *out == "" {
		*out = filepath.Join(filepath.Dir(name), base+"_cell.h")
	}
	return exitOK, os.WriteFile(*out, []byte(header), 0o644)
}
