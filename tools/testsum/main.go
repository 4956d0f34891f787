// Testsum reads what go test -json prints on standard input and prints what a
// person wants of it: a line for each package, and the whole output of
// everything that failed. It exits with 1 if something did.
//
//	go test -json ./... | testsum -counts FILE
//
// With -counts it appends "PASSED FAILED SKIPPED" to FILE, so that a script
// that runs go test many times can add them up.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

func main() {
	counts := flag.String("counts", "", "append the numbers of passed, failed and skipped tests to this `file`")
	flag.Parse()
	total, err := summarize(os.Stdin, os.Stdout)
	if err == nil && *counts != "" {
		err = record(*counts, total)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
		os.Exit(2)
	}
	if total.failed > 0 {
		os.Exit(1)
	}
}

// record appends one line of counts to a file.
func record(name string, t tally) error {
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, t.passed, t.failed, t.skipped)
	return errors.Join(err, f.Close())
}

// tally counts tests, subtests among them.
type tally struct{ passed, failed, skipped int }

func (t *tally) add(u tally) {
	t.passed += u.passed
	t.failed += u.failed
	t.skipped += u.skipped
}

// event is one line of go test -json; see go doc test2json.
type event struct {
	Action, Package, ImportPath, Test, Output string
	Elapsed                                   float64
}

// testPackage is what was seen of one package that is being tested.
type testPackage struct {
	tally
	output map[string]*strings.Builder // by test; "" is the package's own
	failed []string                    // tests, in the order of failing
}

// summarize prints the results in r to w and counts them. Lines that are no
// JSON, such as complaints of the go command, are passed on.
func summarize(r io.Reader, w io.Writer) (tally, error) {
	var total tally
	packages := map[string]*testPackage{}
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil || e.Action == "" {
				fmt.Fprint(w, string(line))
			} else if done := take(packages, e); done != nil {
				finish(w, e, done)
				total.add(done.tally)
				delete(packages, e.Package)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return total, err
		}
	}
	// A run that was killed leaves packages without an end: they failed.
	for name, p := range packages {
		if name == "" {
			continue
		}
		p.tally.failed++
		finish(w, event{Action: "fail", Package: name}, p)
		fmt.Fprintf(w, "     %s did not end\n", name)
		total.add(p.tally)
	}
	return total, nil
}

// take adds one event to its package and returns the package if that ended it.
func take(packages map[string]*testPackage, e event) *testPackage {
	if e.Action == "build-output" { // belongs to the package that was built
		e.Package, _, _ = strings.Cut(e.ImportPath, " ")
	}
	p := packages[e.Package]
	if p == nil {
		p = &testPackage{output: map[string]*strings.Builder{}}
		packages[e.Package] = p
	}
	switch e.Action {
	case "output", "build-output":
		if p.output[e.Test] == nil {
			p.output[e.Test] = &strings.Builder{}
		}
		p.output[e.Test].WriteString(e.Output)
	case "pass", "fail", "skip":
		if e.Test != "" {
			p.count(e)
			return nil
		}
		// A package can fail without a test: it does not build, or exits.
		if e.Action == "fail" && p.tally.failed == 0 {
			p.tally.failed = 1
		}
		return p
	case "build-fail":
		// The package's own fail follows, where it is one under test.
	}
	return nil
}

func (p *testPackage) count(e event) {
	switch e.Action {
	case "pass":
		p.passed++
		delete(p.output, e.Test) // nobody will ask
	case "skip":
		p.skipped++
	case "fail":
		p.tally.failed++
		p.failed = append(p.failed, e.Test)
	}
}

// finish prints a package's result.
func finish(w io.Writer, e event, p *testPackage) {
	switch {
	case p.tally.failed > 0:
		fmt.Fprintf(w, "FAIL %s  %d failed, %d passed\n", e.Package, p.tally.failed, p.passed)
	case p.passed+p.skipped == 0:
		return // no tests
	default:
		fmt.Fprintf(w, "ok   %s  %.1fs, %d passed", e.Package, e.Elapsed, p.passed)
		if p.skipped > 0 {
			fmt.Fprintf(w, ", %d skipped", p.skipped)
		}
		fmt.Fprintln(w)
		p.printSkipped(w)
		return
	}
	for _, test := range p.failed {
		printIndented(w, p.output[test])
	}
	// Last, what belongs to no test: compiler errors, a panic's stack.
	printIndented(w, p.output[""])
}

// printSkipped says why tests were left out: a skip that nobody sees is a hole
// that nobody mends.
func (p *testPackage) printSkipped(w io.Writer) {
	var lines []string
	for _, b := range p.output {
		text := b.String()
		if !strings.Contains(text, "--- SKIP: ") {
			continue
		}
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			if line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- SKIP: ") {
				lines = append(lines, line)
			}
		}
	}
	slices.Sort(lines)
	for _, line := range slices.Compact(lines) {
		fmt.Fprintln(w, "       skipped:", line)
	}
}

func printIndented(w io.Writer, b *strings.Builder) {
	if b == nil {
		return
	}
	for line := range strings.Lines(b.String()) {
		fmt.Fprintf(w, "     %s\n", strings.TrimRight(line, "\n"))
	}
}
