package rpc_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestLeanProgram builds a program of somebody who wants the fast calls alone:
// it imports rpc and ring, and must need golang.org/x/sys and nothing else,
// although other packages of this repository need much more.
func TestLeanProgram(t *testing.T) {
	if testing.Short() {
		t.Skip("slow; without -short this builds a module of its own")
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module example.com/lean\n\ngo 1.26.0\n\n"+
		"require github.com/cell-runtime/cell v0.0.0\n\n"+
		"replace github.com/cell-runtime/cell => "+root+"\n")
	write("main.go", `package main

import (
	"fmt"

	"github.com/cell-runtime/cell/ring"
	"github.com/cell-runtime/cell/rpc"
)

func main() { fmt.Println(ring.ErrClosed, rpc.ErrClosed) }
`)
	run := func(args ...string) []string {
		t.Helper()
		cmd := exec.CommandContext(soon(t), "go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off", "CGO_ENABLED=0")
		out, err := cmd.Output()
		if err != nil {
			complaint := ""
			if e, ok := err.(*exec.ExitError); ok {
				complaint = string(e.Stderr)
			}
			t.Fatalf("go %v: %v\n%s", args, err, complaint)
		}
		return strings.Split(strings.TrimSpace(string(out)), "\n")
	}
	run("mod", "tidy")
	run("build", "-o", os.DevNull, ".")
	for _, line := range run("mod", "edit", "-print") {
		module, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "require "), " ")
		if first, _, _ := strings.Cut(module, "/"); strings.Contains(first, ".") && !slices.Contains([]string{"golang.org/x/sys", "github.com/cell-runtime/cell"}, module) {
			t.Errorf("go.mod needs %s", module)
		}
	}
	// Everything that is compiled, and every module whose content is checked.
	for _, p := range run("list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".") {
		if p != "" && !strings.HasPrefix(p, "golang.org/x/sys/") && !strings.HasPrefix(p, "github.com/cell-runtime/cell/") && p != "example.com/lean" {
			t.Errorf("the program is built with %s", p)
		}
	}
	sums, err := os.ReadFile(filepath.Join(dir, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(sums)) {
		if !strings.HasPrefix(line, "golang.org/x/sys ") {
			t.Errorf("go.sum has %s", line)
		}
	}
	graph(t, run("mod", "graph"))
}

// graph holds that nothing but golang.org/x/sys is in the program's module graph,
// not by way of this module either: what its other packages need stands in
// modules of their own.
func graph(t *testing.T, edges []string) {
	t.Helper()
	for _, edge := range edges {
		_, to, _ := strings.Cut(edge, " ")
		name, _, _ := strings.Cut(to, "@")
		if !slices.Contains([]string{"golang.org/x/sys", "github.com/cell-runtime/cell", "go", "toolchain"}, name) {
			t.Errorf("go mod graph: %s", edge)
		}
	}
}
