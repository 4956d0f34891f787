package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
)

// Names of the files in the directory of results.
const (
	JSONFile  = "peers.json"
	TableFile = "README.md"
)

// ErrReport: a file is not a report of this version, or not one that can be
// continued.
var ErrReport = errors.New("not a usable report")

// Read reads a report from dir. The error is os.ErrNotExist if there is none.
func Read(dir string) (*Report, error) {
	name := filepath.Join(dir, JSONFile)
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	r := new(Report)
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(r); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrReport, name, err)
	}
	if r.Format != Format {
		return nil, fmt.Errorf("%w: %s has format %d, this program writes %d; choose another --out", ErrReport, name, r.Format, Format)
	}
	for _, s := range r.Samples {
		if s.Count == 0 || s.Elapsed <= 0 || s.Round < 1 || s.Run < 0 || s.Run >= len(r.Runs) {
			return nil, fmt.Errorf("%w: %s: a sample of %s in round %d makes no sense", ErrReport, name, s.Peer, s.Round)
		}
	}
	return r, nil
}

// Continues says why rounds of o can't be added to r, or nil: everything but
// the commit must be the same.
func (r *Report) Continues(o *Report) error {
	for _, c := range []struct {
		what  string
		mine  any
		other any
	}{
		{"--duration", r.Settings.Duration, o.Settings.Duration},
		{"--warmup", r.Settings.Warmup, o.Settings.Warmup},
		{"--cpus", r.Settings.CPUs, o.Settings.CPUs},
		{"--works", r.Settings.Works, o.Settings.Works},
		{"--sizes", r.Settings.Sizes, o.Settings.Sizes},
		{"--placement", r.Settings.Placements, o.Settings.Placements},
		{"--only", r.Settings.Peers, o.Settings.Peers},
		{"the window", r.Settings.Window, o.Settings.Window},
		{"the machine", r.Host, o.Host},
		{"the peers", r.Peers, o.Peers},
	} {
		if !reflect.DeepEqual(c.mine, c.other) {
			return fmt.Errorf("%w: can't continue, %s differed: %v then, %v now; measure as before, or choose another --out", ErrReport, c.what, c.other, c.mine)
		}
	}
	return nil
}

// Write writes the report into dir, which is made if need be: the JSON, and
// what is drawn and written of it.
func Write(dir string, r *Report) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	b, err := encode(r)
	if err != nil {
		return err
	}
	page, err := Markdown(r)
	if err != nil {
		return err
	}
	files := Pictures(r)
	files[JSONFile], files[TableFile] = b, page
	for name, b := range files {
		if err := replace(filepath.Join(dir, name), b); err != nil {
			return err
		}
	}
	return nil
}

// encode writes one sample a line: a file for people who look at differences.
func encode(r *Report) ([]byte, error) {
	short := *r
	short.Samples = []Sample{}
	b, err := json.MarshalIndent(short, "", "  ")
	if err != nil {
		return nil, err
	}
	lines := []byte(`"samples": [`)
	for i := range r.Samples {
		s, err := json.Marshal(&r.Samples[i])
		if err != nil {
			return nil, err
		}
		if i > 0 {
			lines = append(lines, ',')
		}
		lines = append(append(lines, "\n    "...), s...)
	}
	if len(r.Samples) > 0 {
		lines = append(lines, "\n  "...)
	}
	b = bytes.Replace(b, []byte(`"samples": [`), lines, 1)
	return append(b, '\n'), nil
}

// replace writes a file whole or not at all.
func replace(name string, b []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".peers-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(b)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
