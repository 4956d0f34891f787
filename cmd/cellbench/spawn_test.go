package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/cell-runtime/cell/capsid/wasm"
)

func TestSpawnWaysAnswer(t *testing.T) {
	e, err := wasm.New(t.Context(), wasm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close(context.Background())
	m, err := e.Compile(t.Context(), echoModule)
	if err != nil {
		t.Fatal(err)
	}
	if err := callModule(t.Context(), m); err != nil {
		t.Error(err)
	}
	dir := t.TempDir()
	static, err := buildStatic(t.Context(), dir)
	if err != nil {
		t.Skipf("no C compiler: %v", err)
	}
	for _, w := range []*spawnResult{
		{once: func(ctx context.Context) error { return bareExec(ctx, []string{static}) }},
		capsidWay("none", "static C", []string{static}, ""),
	} {
		if err := w.round(t.Context(), 1, 1); err != nil || w.Error != "" || len(w.Rates) != 1 {
			t.Errorf("%+v, %v", w, err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if bwrap, err := exec.LookPath("bwrap"); err == nil {
		// With cgo this is a program that needs libraries.
		bare := &spawnResult{once: func(ctx context.Context) error { return bareExec(ctx, bareBwrap(bwrap, []string{self, spawnArg})) }}
		for _, w := range []*spawnResult{bare, capsidWay("bwrap", "Go", []string{self, spawnArg}, "")} {
			if err := w.round(t.Context(), 1, 1); err != nil || w.Error != "" || len(w.Rates) != 1 {
				t.Errorf("%+v, %v", w, err)
			}
		}
	}
	if hostBusy() <= 0 {
		t.Error("the host has spent no time")
	}
	if err := spawnTable(io.Discard, []*spawnResult{{Way: "x", Error: "left out"}}); err != nil {
		t.Error(err)
	}
}

func TestSpawnRefusesWhatCantBeMeant(t *testing.T) {
	for _, flags := range []string{"--duration 1ms", "--workers 0", "--workers x"} {
		if code := run(append([]string{"spawn"}, strings.Fields(flags)...)); code != exitUsage {
			t.Errorf("%s: status %d", flags, code)
		}
	}
}
