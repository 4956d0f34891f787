package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"

	"github.com/cell-runtime/cell/rpc"
)

// Exit codes. Scripts rely on them; docs/CELLNODE.md lists them.
const (
	ExitOK     = 0
	ExitFailed = 1
	ExitUsage  = 2
	// ExitStatus is added to the status by which a call ended: 64+5 where the
	// handler said that there is no such thing.
	ExitStatus = 64
)

// UsageError says that the command line can't be obeyed.
type UsageError struct{ Err error }

// Error implements error.
func (e *UsageError) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong.
func (e *UsageError) Unwrap() error { return e.Err }

// usagef returns a UsageError.
func usagef(format string, args ...any) error { return &UsageError{fmt.Errorf(format, args...)} }

// CallError is the end of the call that a command was asked to make: its
// status becomes the exit code.
type CallError struct{ Err error }

// Error implements error.
func (e *CallError) Error() string { return e.Err.Error() }

// Unwrap returns the call's error.
func (e *CallError) Unwrap() error { return e.Err }

// ErrReported: the command has said already what is wrong; only the exit code
// is left to tell.
var ErrReported = errors.New("reported already")

// ExitCode returns the code that stands for err.
func ExitCode(err error) int {
	var usage *UsageError
	var call *CallError
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &usage):
		return ExitUsage
	case errors.As(err, &call):
		return ExitStatus + int(rpc.StatusOf(call.Err))
	}
	return ExitFailed
}

// Main obeys a command line and returns the exit code. The first SIGINT or
// SIGTERM ends the command's context, a second one the program.
func Main(args []string, in io.Reader, out, complaints io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return Run(ctx, args, &Env{In: in, Out: out, Err: complaints})
}

// maxComplaint bounds what is printed of an error, in bytes.
const maxComplaint = 4096

// Run obeys a command line until ctx ends, and returns the exit code.
func Run(ctx context.Context, args []string, env *Env) int {
	root := NewRoot(env)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil || errors.Is(err, ErrReported) {
		return ExitCode(err)
	}
	text := err.Error()
	if len(text) > maxComplaint { // what was given may be repeated in it
		text = fmt.Sprintf("%s… (%d bytes more)", strings.ToValidUTF8(text[:maxComplaint], ""), len(text)-maxComplaint)
	}
	fmt.Fprintf(env.Err, "%s: %s\n", cmd.CommandPath(), text)
	if ExitCode(err) == ExitUsage {
		fmt.Fprintf(env.Err, "See %s --help.\n", cmd.CommandPath())
	}
	return ExitCode(err)
}
