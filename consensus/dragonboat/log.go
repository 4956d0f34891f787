//go:build !nodragonboat && !s390x

package dragonboat

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/lni/dragonboat/v4/logger"
)

// lastPanic is what dragonboat said before it panicked last, since it recovers
// from some of its own panics without passing on why.
var lastPanic atomic.Value

// dragonboat takes one logger for the process, once.
var current atomic.Pointer[slog.Logger]

func init() {
	current.Store(slog.New(slog.DiscardHandler))
	logger.SetLoggerFactory(func(pkg string) logger.ILogger { return raftLogger(pkg) })
}

// raftLogger passes on what dragonboat says. Its "info" is for developers.
type raftLogger string

func (l raftLogger) log(level slog.Level, format string, args []any) {
	to := current.Load()
	if to.Enabled(context.Background(), level) {
		to.Log(context.Background(), level, fmt.Sprintf(format, args...), "raft", string(l))
	}
}

func (l raftLogger) SetLevel(logger.LogLevel)          {}
func (l raftLogger) Debugf(format string, args ...any) {} // one for each message between replicas
func (l raftLogger) Infof(format string, args ...any)  { l.log(slog.LevelDebug, format, args) }

// Warningf: the warnings of the algorithm are every step of an election, and
// each request that finds no leader, which its caller is told; those of the
// configuration don't know that the transport is ours.
func (l raftLogger) Warningf(format string, args ...any) {
	level := slog.LevelWarn
	if l == "raft" || l == "config" {
		level = slog.LevelDebug
	}
	l.log(level, format, args)
}
func (l raftLogger) Errorf(format string, args ...any) { l.log(slog.LevelError, format, args) }

// Panicf must not return: dragonboat relies on it.
func (l raftLogger) Panicf(format string, args ...any) {
	l.log(slog.LevelError, format, args)
	lastPanic.Store(fmt.Sprintf(format, args...))
	panic(fmt.Sprintf("raft (%s): ", string(l)) + fmt.Sprintf(format, args...))
}
