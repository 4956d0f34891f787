// Package config is the configuration of a node: TOML from a file, over which
// the environment (CELL_*) and flags stand. Unknown keys are errors with a
// suggestion, every value knows where it came from, and no configuration at all
// is a good one. docs/CELLNODE.md lists every key.
package config

import (
	"fmt"
	"time"

	"github.com/cell-runtime/cell/capsid"
)

// Config is everything that a node is told.
type Config struct {
	// RuntimeDir is where sockets and metrics lie; "" for the user's default.
	RuntimeDir string `toml:"runtime_dir"`
	// MaxCells bounds how many processes run at once.
	MaxCells int `toml:"max_cells"`

	Log        Log             `toml:"log"`
	Engine     Engine          `toml:"engine"`
	Operations Operations      `toml:"operations"`
	Network    Network         `toml:"network"`
	Raft       Raft            `toml:"raft"`
	Cells      map[string]Cell `toml:"cells"`

	Devices map[string]Device `toml:"devices"`
}

// Log says what is logged, on standard error.
type Log struct {
	Format string `toml:"format"` // text or json
	Level  string `toml:"level"`  // debug, info, warn or error
	Audit  string `toml:"audit"`  // a file for who started and stopped what; "" for the log itself
}

// Engine is the thread that serves what goes through the node itself.
type Engine struct {
	CPU  int    `toml:"cpu"`  // core to pin to; -1 for none
	Idle string `toml:"idle"` // adaptive, park, yield or spin
}

// Operations is what is shown to operators over HTTP. Empty addresses are off.
type Operations struct {
	Prometheus string `toml:"prometheus"` // address of /metrics, /healthz and /readyz
	Web        string `toml:"web"`        // address of the page
	Pprof      bool   `toml:"pprof"`      // /debug/pprof beside /metrics
	Public     bool   `toml:"public"`     // allows addresses that others can reach
}

// Cell is one cell, by whose name callers reach it.
type Cell struct {
	Command []string          `toml:"command"` // absolute path and arguments
	Env     map[string]string `toml:"env"`
	Dir     string            `toml:"dir"`
	Schema  string            `toml:"schema"`  // a description that it must serve, by its path
	Version string            `toml:"version"` // a name for this version; default: made of the command
	Capsid  string            `toml:"capsid"`  // backend: bwrap, none, …
	Seccomp string            `toml:"seccomp"`

	Serves    bool   `toml:"serves"`    // false: it only calls, and is ready when it runs
	Start     string `toml:"start"`     // boot, or connect: when somebody calls
	Instances int    `toml:"instances"` // that run beside each other
	Warm      int    `toml:"warm"`      // that are ready beyond those
	Cores     int    `toml:"cores"`     // that each process has for itself, off which the node keeps all others

	Restart      string   `toml:"restart"` // always, failure or never
	BackoffMin   Duration `toml:"backoff_min"`
	BackoffMax   Duration `toml:"backoff_max"`
	MaxRestarts  int      `toml:"max_restarts"` // in a row, without being well for a backoff_max; 0: no ceiling
	ReadyTimeout Duration `toml:"ready_timeout"`
	StopGrace    Duration `toml:"stop_grace"`
	Idle         Duration `toml:"idle"` // stop when nobody was connected for so long; 0: never

	HealthEvery   Duration `toml:"health_every"` // 0: never
	HealthTimeout Duration `toml:"health_timeout"`

	VersionsKept int      `toml:"versions_kept"` // that can be called, asleep or not
	VersionIdle  Duration `toml:"version_idle"`  // an older version sleeps after so long

	Reach  []string `toml:"reach"`  // names that it may call; empty: the cells of this node
	Users  []uint32 `toml:"users"`  // who may call, and start it by calling; empty: the node's own user
	Remote bool     `toml:"remote"` // whether callers of other nodes may, see Network.Share
	Limits Limits   `toml:"limits"`
	Files  Files    `toml:"files"`
}

// Limits bound one process of a cell; see capsid.Limits.
type Limits struct {
	Memory     Size     `toml:"memory"`
	Processes  int      `toml:"processes"`
	CPU        float64  `toml:"cpu"`
	CPUSet     string   `toml:"cpuset"`
	Background bool     `toml:"background"`
	CPUTime    Duration `toml:"cpu_time"`
	OpenFiles  int      `toml:"open_files"`
	FileSize   Size     `toml:"file_size"`
	Locked     Size     `toml:"locked"`
	Output     Size     `toml:"output"`
	Missing    string   `toml:"missing"` // refuse, or rlimits: where control groups are not delegated
}

// Files is what a cell sees of the host's files; see capsid.Files.
type Files struct {
	ReadOnly  []string `toml:"read_only"`
	ReadWrite []string `toml:"read_write"`
	System    bool     `toml:"system"`
	Proc      bool     `toml:"proc"`
	Tmp       Size     `toml:"tmp"`
}

// Default is the configuration of who has said nothing.
func Default() Config {
	return Config{
		MaxCells: 64,
		Log:      Log{Format: "text", Level: "info"},
		Engine:   Engine{CPU: -1, Idle: "adaptive"},
		Network:  defaultNetwork(),
		Raft:     DefaultRaft(),
		Cells:    map[string]Cell{},
	}
}

// DefaultCell is a cell of which only the command was said.
func DefaultCell() Cell {
	return Cell{
		Capsid: "bwrap", Serves: true, Remote: true, Start: "boot", Instances: 1,
		Restart: "failure", BackoffMin: Duration(100 * time.Millisecond), BackoffMax: Duration(10 * time.Second), MaxRestarts: 10,
		ReadyTimeout: Duration(10 * time.Second), StopGrace: Duration(5 * time.Second),
		HealthEvery: Duration(time.Second), HealthTimeout: Duration(5 * time.Second),
		VersionsKept: 2, VersionIdle: Duration(10 * time.Minute),
		Limits: Limits{Missing: "refuse"},
	}
}

// Spec is what a capsid backend is given for a cell.
func (c Cell) Spec(name string) capsid.Spec {
	s := capsid.Spec{
		Name: name, Command: c.Command, Dir: c.Dir, Seccomp: c.Seccomp, AllowUnfiltered: c.Seccomp == "off",
		Files: capsid.Files{ReadOnly: c.Files.ReadOnly, ReadWrite: c.Files.ReadWrite, System: c.Files.System, Proc: c.Files.Proc, TmpSize: int64(c.Files.Tmp)},
		Limits: capsid.Limits{
			Memory: int64(c.Limits.Memory), Processes: c.Limits.Processes, CPU: c.Limits.CPU, CPUSet: c.Limits.CPUSet,
			CPUTime: time.Duration(c.Limits.CPUTime), OpenFiles: c.Limits.OpenFiles, FileSize: int64(c.Limits.FileSize),
			Locked: int64(c.Limits.Locked), Output: int64(c.Limits.Output), Background: c.Limits.Background,
		},
	}
	if c.Limits.Missing == "rlimits" {
		s.Limits.Missing = capsid.Rlimits
	}
	for _, key := range sortedKeys(c.Env) {
		s.Env = append(s.Env, fmt.Sprintf("%s=%s", key, c.Env[key]))
	}
	return s
}
