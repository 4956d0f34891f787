package gosrc

import (
	"errors"
	"fmt"
	"go/token"
	"slices"
	"strings"
)

// ErrRefused is wrapped by every error about what a source says, as opposed to
// one that kept it from being read.
var ErrRefused = errors.New("not a schema")

// Problem is one thing in a source that can't be in a schema.
type Problem struct {
	Pos  token.Position
	What string // what is wrong, and what to write instead
}

func (p Problem) String() string {
	return fmt.Sprintf("%s:%d: %s", p.Pos.Filename, p.Pos.Line, p.What)
}

// Problems is the error for a source that was refused, in the order of its
// lines. It wraps [ErrRefused].
type Problems []Problem

// Error returns one problem a line, as compilers print theirs.
func (all Problems) Error() string {
	lines := make([]string, len(all))
	for i, p := range all {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns ErrRefused.
func (all Problems) Unwrap() error { return ErrRefused }

// refuse notes a problem at pos, once.
func (s *source) refuse(pos token.Pos, format string, args ...any) {
	p := Problem{s.set.Position(pos), fmt.Sprintf(format, args...)}
	if !slices.Contains(s.problems, p) {
		s.problems = append(s.problems, p)
	}
}

// err returns the problems found so far as an error, or nil.
func (s *source) err() error {
	if len(s.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(s.problems, func(a, b Problem) int {
		if c := strings.Compare(a.Pos.Filename, b.Pos.Filename); c != 0 {
			return c
		}
		return a.Pos.Line - b.Pos.Line
	})
	return s.problems
}
