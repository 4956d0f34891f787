package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cell-runtime/cell/node/config"
)

// load reads a configuration from text.
func load(t *testing.T, text string, env []string, flags map[string]string) (config.Config, config.Origins, error) {
	t.Helper()
	s := config.Source{Env: env, Flag: flags}
	if text != "" {
		s.File = filepath.Join(t.TempDir(), "c.toml")
		if err := os.WriteFile(s.File, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return config.Load(s)
}

const cell = "[cells.a]\ncommand = [\"/bin/true\"]\n"

func TestNothingIsAConfiguration(t *testing.T) {
	c, origins, err := load(t, "", nil, nil)
	if err != nil || len(c.Cells) != 0 || origins.Of("max_cells") != "default" {
		t.Errorf("%+v, %v", c, err)
	}
	if c.Operations != (config.Operations{}) {
		t.Errorf("something is exposed: %+v", c.Operations)
	}
}

func TestWrongConfigurations(t *testing.T) {
	for name, tc := range map[string]struct {
		text  string
		env   []string
		flags map[string]string
		want  string
	}{
		"an unknown key":                   {"max_cels = 1", nil, nil, "c.toml:1: there is no key \"max_cels\"; did you mean max_cells?"},
		"an unknown key of a cell":         {cell + "restrat = \"never\"", nil, nil, "did you mean cells.a.restart?"},
		"an unknown key of limits":         {cell + "limits.memroy = \"1M\"", nil, nil, "did you mean cells.a.limits.memory?"},
		"nothing like any key":             {"[log]\nzzzzzzzz = 1", nil, nil, "there are format, level, audit"},
		"no TOML":                          {"max_cells = = 1", nil, nil, "c.toml:1"},
		"a wrong type":                     {"max_cells = \"many\"", nil, nil, "max_cells"},
		"a wrong time":                     {cell + "idle = \"soon\"", nil, nil, "\"soon\" is no length of time"},
		"a wrong size":                     {cell + "limits.memory = \"1X\"", nil, nil, "\"1X\" is no number of bytes"},
		"out of bounds":                    {"max_cells = 0", nil, nil, "max_cells: 0 is not 1 to 4096"},
		"a relative command":               {"[cells.a]\ncommand = [\"true\"]", nil, nil, "cells.a.command: it must begin with the absolute path"},
		"no command":                       {"[cells.a]\n", nil, nil, "cells.a.command"},
		"a cell with the member's name":    {"[cells.raft]\ncommand = [\"/bin/true\"]", nil, nil, "the name is the node's own"},
		"a cell with a store's name":       {"[cells.\"kv.orders\"]\ncommand = [\"/bin/true\"]", nil, nil, "the name is the node's own"},
		"a cell with the node's name":      {"[cells.\"node.ops\"]\ncommand = [\"/bin/true\"]", nil, nil, "the name is the node's own"},
		"a name that can't be one":         {"[cells.\"a/b\"]\ncommand = [\"/bin/true\"]", nil, nil, "bad name"},
		"an address that others can reach": {"operations.web = \"0.0.0.0:80\"", nil, nil, "can be reached by others"},
		"a restart policy":                 {cell + "restart = \"sometimes\"", nil, nil, "not one of always, failure, never"},
		"an unknown flag":                  {"", nil, map[string]string{"none": "1"}, "there is no key \"none\""},
		"the environment":                  {"", []string{"CELL_MAX_CELLS=many"}, nil, "max_cells (env CELL_MAX_CELLS): \"many\" is no int"},
		"a flag":                           {"", nil, map[string]string{"log.format": "xml"}, "log.format: \"xml\" is not one of text, json"},
		"a network mode":                   {"network.mode = \"maybe\"", nil, nil, "not one of auto, on, off"},
		"a peer without a port":            {"network.peers = [\"host\"]", nil, nil, "network.peers: \"host\" is not host:port"},
		"an address that is anywhere":      {"network.addresses = [\"0.0.0.0:1\"]", nil, nil, "network.addresses: \"0.0.0.0:1\" is no ip:port"},
		"a port of discovery":              {"", []string{"CELL_NETWORK_PORT=70000"}, nil, "network.port: 70000"},
		"backoff upside down":              {cell + "backoff_min = \"2s\"\nbackoff_max = \"1s\"", nil, nil, "backoff_max not below backoff_min"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := load(t, tc.text, tc.env, tc.flags)
			if !errors.Is(err, config.ErrConfig) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, wanted %q", err, tc.want)
			}
		})
	}
}

func TestOrigins(t *testing.T) {
	c, origins, err := load(t, "max_cells = 3\nlog.level = \"warn\"\nlog.format = \"json\"\n"+cell+"idle = \"1m\"\nlimits.memory = \"64M\"",
		[]string{"CELL_LOG_LEVEL=error", "CELL_LOG_FORMAT=text", "CELL_UNRELATED=1", "HOME=/"}, map[string]string{"log.format": "json"})
	if err != nil {
		t.Fatal(err)
	}
	if c.MaxCells != 3 || c.Log.Level != "error" || c.Log.Format != "json" || time.Duration(c.Cells["a"].Idle) != time.Minute || c.Cells["a"].Limits.Memory != 64<<20 {
		t.Errorf("%+v", c)
	}
	if c.Cells["a"].Restart != "failure" || c.Cells["a"].Capsid != "bwrap" {
		t.Errorf("a cell's defaults are lost: %+v", c.Cells["a"])
	}
	want := map[string]string{"max_cells": "file", "log.level": "env CELL_LOG_LEVEL", "log.format": "flag", "engine.cpu": "default",
		"cells.a.idle": "file", "cells.a.limits.memory": "file", "cells.a.restart": "default"}
	lines := map[string]string{}
	for _, s := range c.Settings(origins) {
		lines[s.Key] = s.String()
		if w, ok := want[s.Key]; ok && !strings.HasPrefix(s.Origin, w) {
			t.Errorf("%s comes from %q, wanted %q", s.Key, s.Origin, w)
		}
		delete(want, s.Key)
	}
	if len(want) > 0 {
		t.Errorf("not listed: %v", want)
	}
	if got := lines["cells.a.limits.memory"]; !strings.HasPrefix(got, `cells.a.limits.memory = "64M"  # file `) {
		t.Errorf("%s", got)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add("max_cells = 1")
	f.Add(cell + "limits.memory = \"1G\"\n[log]\nlevel = \"debug\"")
	f.Fuzz(func(t *testing.T, text string) {
		file := filepath.Join(t.TempDir(), "c.toml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if c, origins, err := config.Load(config.Source{File: file}); err == nil {
			c.Settings(origins)
		} else if !errors.Is(err, config.ErrConfig) {
			t.Error(err)
		}
	})
}
