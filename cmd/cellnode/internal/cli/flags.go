package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// plainFlag says in words what is wrong with a flag's value, where the flag's type
// repeats what the functions said that read it.
func plainFlag(err error) error {
	var wrong *pflag.InvalidValueError
	if !errors.As(err, &wrong) {
		return err
	}
	name, value := wrong.GetFlag().Name, wrong.GetValue()
	kind := wrong.GetFlag().Value.Type()
	switch unsigned := strings.HasPrefix(kind, "uint"); {
	case kind == "duration":
		return fmt.Errorf("--%s: %.40q is no length of time up to 2540400h; write it like 90s, 5m or 1h30m", name, value)
	case kind == "bool":
		return fmt.Errorf("--%s: %.40q is neither true nor false", name, value)
	case (unsigned || strings.HasPrefix(kind, "int")) && errors.Is(err, strconv.ErrRange):
		return fmt.Errorf("--%s: %.40q is too large", name, strings.TrimPrefix(value, "-"))
	case unsigned:
		return fmt.Errorf("--%s: %.40q is no whole number from 0 on", name, value)
	case strings.HasPrefix(kind, "int"):
		return fmt.Errorf("--%s: %.40q is no whole number", name, value)
	}
	return fmt.Errorf("--%s: %w", name, wrong.Unwrap())
}

// notNegative refuses lengths of time below 0, which no flag has a meaning for.
func notNegative(cmd *cobra.Command) (err error) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if d, parseErr := time.ParseDuration(f.Value.String()); parseErr == nil && f.Value.Type() == "duration" && d < 0 && err == nil {
			err = usagef("--%s must not be below 0, and is %v", f.Name, d)
		}
	})
	return err
}

// mustLast refuses a length of time in which nothing can be valid: identities count
// whole seconds.
func mustLast(flag string, d time.Duration) error {
	if d < time.Second {
		return usagef("--%s must be at least 1s, and is %v", flag, d)
	}
	return nil
}
