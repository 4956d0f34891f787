package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/node"
	"github.com/cell-runtime/cell/node/config"
)

// settings are the flags that say where the configuration comes from.
type settings struct {
	file string
	flag map[string]*string // by key
}

// settingFlags are the keys that have a flag of their own.
var settingFlags = []struct{ name, key, what string }{
	{"web", "operations.web", "address of the read-only page, such as 127.0.0.1:9465"},
	{"prometheus", "operations.prometheus", "address of /metrics, /healthz and /readyz, such as 127.0.0.1:9464"},
	{"raft", "raft.listen", "address for the other members of the cluster, such as 192.0.2.7:4747; turns its replicated state on"},
	{"raft-peers", "raft.peers", "addresses of other members, between commas"},
	{"raft-dir", "raft.dir", "folder of the replicated state"},
	{"log-format", "log.format", "text or json"},
	{"log-level", "log.level", "debug, info, warn or error"},
}

func (s *settings) flags(cmd *cobra.Command) {
	s.flag = map[string]*string{}
	cmd.Flags().StringVarP(&s.file, "config", "c", "", "configuration in TOML; without one the node runs no cells")
	for _, f := range settingFlags {
		s.flag[f.key] = cmd.Flags().String(f.name, "", f.what)
	}
}

// load reads the configuration. --runtime-dir is one of its flags, too.
func (s *settings) load(env *Env) (config.Config, config.Origins, error) {
	source := config.Source{File: s.file, Env: os.Environ(), Flag: map[string]string{}}
	for key, value := range s.flag {
		if *value != "" {
			source.Flag[key] = *value
		}
	}
	if env.Dir != "" {
		source.Flag["runtime_dir"] = env.Dir
	}
	return config.Load(source)
}

// logger is the node's log.
func logger(env *Env, l config.Log) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(l.Level)) // Check has seen it
	o := &slog.HandlerOptions{Level: level}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(env.Err, o))
	}
	return slog.New(slog.NewTextHandler(env.Err, o))
}

// newRun runs a node.
func newRun(env *Env) *cobra.Command {
	var s settings
	var token string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the node of this host, with the cells of a configuration",
		Long: `Starts the configured cells, each in its capsid, leads callers to them, restarts
and replaces them, and answers the commands that ask for a node. It logs to
standard error, and runs until SIGTERM or SIGINT; then it drains its cells and ends
when nothing is left of them. A second signal kills it, and its cells with it.

SIGHUP reads the configuration again, as cellnode reload does. Under systemd it
tells when it is ready, and feeds the watchdog (sd_notify).

Without a configuration it runs no cells, exposes nothing, and waits.

Once the node has joined a cluster (cellnode join, or --join), or trusts somebody,
it finds the other nodes, tells them of its cells, and leads callers of this host
to theirs: docs/NETWORK.md.`,
		Example: "  cellnode run --join token.txt\n  cellnode run -c /etc/cell/cellnode.toml\n  cellnode run -c cellnode.toml --web 127.0.0.1:9465",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := s.load(env)
			if err != nil {
				return err
			}
			if err := joinFirst(cmd.Context(), env, token, c.Network); err != nil {
				return err
			}
			return runNode(cmd.Context(), env, &s, c)
		},
	}
	s.flags(cmd)
	cmd.Flags().StringVar(&token, "join", "", "file with the token of a cluster to join first, or TOKEN@HOST:PORT to be enrolled there; - for standard input (default $"+envToken+"); a member stays what it is")
	return cmd
}

// envToken names the environment variable with the token of a cluster that a node
// joins when it starts.
const envToken = "CELL_JOIN_TOKEN"

// joinFirst makes the node a member of the cluster of a token, if one was given
// and it is not a member yet.
func joinFirst(ctx context.Context, env *Env, file string, c config.Network) error {
	text := os.Getenv(envToken)
	if file == "" && text == "" {
		return nil
	}
	if file != "" {
		var err error
		if text, err = readToken(env, file); err != nil {
			return err
		}
	}
	token, addr, _ := strings.Cut(text, "@")
	t, err := identity.ParseToken(token)
	if err != nil {
		return &UsageError{err}
	}
	dir := c.Identity
	if dir == "" {
		if dir, err = identity.DefaultDir(); err != nil {
			return err
		}
	}
	if isMember(dir, t, addr != "") {
		return nil
	}
	_, err = join(ctx, dir, t, addr)
	return err
}

// isMember reports whether the node in a folder is a member of the token's cluster
// already, and the token would not make it one for longer: by a membership that
// the cluster's key has signed, which the running node renews, or where nobody is
// to confirm it, by another token that lasts as long.
func isMember(dir string, t *identity.Token, confirms bool) bool {
	if _, err := os.Stat(dir); err != nil {
		return false
	}
	mine, err := identity.LoadCredentials(dir)
	if err != nil {
		return false
	}
	trust, err := identity.LoadTrust(dir)
	if err != nil {
		return false
	}
	m := mine.Membership()
	if m == nil || m.Cluster != t.Grant.Cluster {
		return false
	}
	if _, err := trust.Check(mine.ID(), identity.Evidence{Membership: m}); err != nil {
		return false // it has expired, say
	}
	return m.Confirmed() || !confirms && !m.Counted() && !m.Until().Before(t.Grant.NotAfter)
}

// readToken reads the token in a file, or on standard input.
func readToken(env *Env, file string) (string, error) {
	in := env.In
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return "", err
		}
		defer f.Close()
		in = f
	}
	line, err := bufio.NewReader(io.LimitReader(in, 4096)).ReadString('\n')
	if err == io.EOF {
		err = nil
	}
	return strings.TrimSpace(line), err
}

func runNode(ctx context.Context, env *Env, s *settings, c config.Config) error {
	log := logger(env, c.Log)
	n, err := node.New(node.Options{Config: c, Logger: log, Load: func() (config.Config, error) {
		next, _, err := s.load(env)
		return next, err
	}})
	if err != nil {
		return err
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	over := make(chan struct{})
	defer close(over)
	go func() {
		for {
			select {
			case <-hup:
				did, err := n.Reload(ctx, "SIGHUP")
				for _, text := range did {
					log.Info("reload", "did", text)
				}
				if err != nil {
					log.Error("reload: what failed stays as it was", "err", err)
				}
			case <-over:
				return
			}
		}
	}()
	return n.Run(ctx)
}

// newConfig looks at configurations.
func newConfig(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "config",
		Short:   "Check a configuration, or print all of it with origins",
		Example: "  cellnode config check -c cellnode.toml",
	}
	var checked, printed settings
	check := &cobra.Command{
		Use:   "check",
		Short: "Say everything that is wrong with a configuration",
		Long: `Reads the configuration as cellnode run would, and says everything that is wrong
with it: unknown keys, with what may have been meant; values out of bounds. The
exit code is 1 then. Whether the host has what it asks for is doctor's to say.`,
		Example: "  cellnode config check -c /etc/cell/cellnode.toml",
		RunE: func(*cobra.Command, []string) error {
			c, _, err := checked.load(env)
			if err != nil {
				return err
			}
			return env.Show(map[string]int{"cells": len(c.Cells), "devices": len(c.Devices)}, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "in order: %d cells, %d devices\n", len(c.Cells), len(c.Devices))
				return err
			})
		},
	}
	checked.flags(check)
	show := &cobra.Command{
		Use:   "print",
		Short: "Print every setting with its value and where that came from",
		Long: `Prints every key with the value that a node would use and its origin: default,
the file, the environment (CELL_ and the key in capitals, dots as _), or a flag. Each
stands above those before it.`,
		Example: "  cellnode config print -c cellnode.toml\n  CELL_LOG_FORMAT=json cellnode config print | grep log",
		RunE: func(*cobra.Command, []string) error {
			c, origins, err := printed.load(env)
			if err != nil {
				return err
			}
			return printSettings(env, c.Settings(origins))
		},
	}
	printed.flags(show)
	cmd.AddCommand(check, show)
	return cmd
}
