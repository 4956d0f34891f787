package capsid

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cell-runtime/cell/sched"
)

// mendable is an error that says how to mend it. Whoever prints the error reads
// both; Probe keeps them apart.
type mendable struct {
	why error
	fix string
}

func (m *mendable) Error() string { return m.why.Error() + "; " + m.fix }
func (m *mendable) Unwrap() error { return m.why }

// mend returns a mendable error.
func mend(fix, format string, args ...any) error {
	return &mendable{fmt.Errorf(format, args...), fix}
}

// blame fills in what went wrong in a finding, and how to mend it: by the error's
// own word, or as otherwise says.
func blame(f *sched.Finding, err error, otherwise string) {
	f.Severity = max(f.Severity, sched.Warning)
	f.Evidence, f.Fix = err.Error(), otherwise
	var m *mendable
	if errors.As(err, &m) {
		f.Evidence, f.Fix = strings.TrimSuffix(f.Evidence, "; "+m.fix), m.fix
	}
}
