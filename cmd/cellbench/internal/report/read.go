package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Errors of reading result files.
var (
	// ErrTooBig: more than MaxFileBytes or MaxResults.
	ErrTooBig = errors.New("result file too big")
	// ErrFormat: not JSON, or not what cellbench writes.
	ErrFormat = errors.New("not a cellbench result file")
	// ErrSchema: written by another version of cellbench.
	ErrSchema = errors.New("unknown schema version")
)

// Bounds on what Read believes.
const (
	MaxFileBytes = 32 << 20
	MaxResults   = 4096
)

// Read reads what WriteResult or WriteReport wrote, a single result or a
// report, and returns it as a report in which each result has its own Host. It
// reads at most MaxFileBytes. Fields that it doesn't know are ignored. Errors
// wrap ErrTooBig, ErrFormat, ErrSchema, ErrSetting, ErrFigures, or are the
// reader's.
func Read(r io.Reader) (Report, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxFileBytes+1))
	if err != nil {
		return Report{}, fmt.Errorf("reading results: %w", err)
	}
	if len(b) > MaxFileBytes {
		return Report{}, fmt.Errorf("%w: above %d MiB", ErrTooBig, MaxFileBytes>>20)
	}
	rep, err := decode(b)
	if err != nil {
		return Report{}, err
	}
	if len(rep.Results) > MaxResults {
		return Report{}, fmt.Errorf("%w: %d results, more than %d", ErrTooBig, len(rep.Results), MaxResults)
	}
	for i := range rep.Results {
		res := &rep.Results[i]
		if err := res.check(); err != nil {
			return Report{}, fmt.Errorf("results[%d]: %w", i, err)
		}
		res.Setting = res.Setting.normal()
		res.Schema = Schema
		if res.Host == nil {
			res.Host = rep.Host
		}
	}
	return rep, nil
}

// decode tells the two forms apart by the list of results.
func decode(b []byte) (Report, error) {
	var head struct {
		Schema  string          `json:"schema"`
		Results json.RawMessage `json:"results"`
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return Report{}, fmt.Errorf("%w: it is empty", ErrFormat)
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return Report{}, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	switch {
	case head.Schema == "":
		return Report{}, fmt.Errorf(`%w: no "schema"; it should say %q`, ErrFormat, Schema)
	case head.Schema != Schema:
		return Report{}, fmt.Errorf("%w: %.60q, and this cellbench reads %q; measure both sides with one version", ErrSchema, head.Schema, Schema)
	}
	if head.Results == nil {
		var res Result
		if err := json.Unmarshal(b, &res); err != nil {
			return Report{}, fmt.Errorf("%w: %w", ErrFormat, err)
		}
		return Report{Schema: Schema, Host: res.Host, Results: []Result{res}}, nil
	}
	var rep Report
	if err := json.Unmarshal(b, &rep); err != nil {
		return Report{}, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return rep, nil
}
