package schema

import (
	"errors"
	"fmt"
)

// ErrInvalid is wrapped by every error that says a schema breaks a rule of the
// language: a bad name, a limit, recursion, a type where it can't stand.
var ErrInvalid = errors.New("invalid schema")

// subject is what a broken rule is about: a *Schema, *Type or *Service, or
// with an index its field, value or method of that number. Parse finds the
// line by it.
type subject struct {
	owner any
	index int // -1 for the owner itself
}

// ruleError says which rule was broken, and where.
type ruleError struct {
	at    subject
	where string // such as "Order.Price", "" for the schema as a whole
	what  string
}

func (e *ruleError) Error() string {
	if e.where == "" {
		return ErrInvalid.Error() + ": " + e.what
	}
	return ErrInvalid.Error() + ": " + e.where + ": " + e.what
}

func (e *ruleError) Unwrap() error { return ErrInvalid }

// broken returns an error whose place is not known yet.
func broken(format string, args ...any) error {
	return &ruleError{what: fmt.Sprintf(format, args...)}
}

// placed adds the place to a broken rule that has none yet, so that the
// innermost place is the one that is told.
func placed(err error, owner any, index int, where string) error {
	var rule *ruleError
	if errors.As(err, &rule) && rule.at.owner == nil {
		rule.at, rule.where = subject{owner, index}, where
	}
	return err
}
