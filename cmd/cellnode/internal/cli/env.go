package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// Formats of -o.
const (
	formatText = "text"
	formatJSON = "json"
)

// format is the value of -o.
type format string

// String, Set and Type implement pflag.Value.
func (f *format) String() string { return string(*f) }

func (f *format) Set(s string) error {
	if s != formatText && s != formatJSON {
		return fmt.Errorf("%q is neither text nor json", s)
	}
	*f = format(s)
	return nil
}

func (f *format) Type() string { return "FORMAT" }

// Env is what a command works with besides its flags.
type Env struct {
	In  io.Reader
	Out io.Writer // results
	Err io.Writer // complaints, progress

	// Dir is the runtime directory; "" for the default.
	Dir string

	format format
}

// JSON reports whether -o json was asked for.
func (e *Env) JSON() bool { return e.format == formatJSON }

// Show prints a result: v as indented JSON with -o json, else what text
// writes. Results that are lists are never null in JSON: pass an empty slice.
func (e *Env) Show(v any, text func(w io.Writer) error) error {
	if !e.JSON() {
		return text(e.Out)
	}
	enc := json.NewEncoder(e.Out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// Line prints one of many results as they come: v as one line of JSON with
// -o json, else what text writes.
func (e *Env) Line(v any, text func(w io.Writer) error) error {
	if !e.JSON() {
		return text(e.Out)
	}
	enc := json.NewEncoder(e.Out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// table writes rows under a heading in columns that are as wide as need be.
func table(w io.Writer, heading []string, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range slices.Concat([][]string{heading}, rows) {
		if _, err := fmt.Fprintln(t, strings.TrimRight(strings.Join(row, "\t"), "\t")); err != nil {
			return err
		}
	}
	return t.Flush()
}
