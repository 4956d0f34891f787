package gogen_test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cell-runtime/cell/cmd/cellgen/internal/gogen"
	"github.com/cell-runtime/cell/schema"
)

// probe is the part of the compiled program that knows a package. For each
// message it prints the reason for which it is refused; or its JSON, the JSON
// of its view, and its bytes after a way through the Go struct.
const probe = `package %s

import "encoding/hex"

var _ = hex.EncodeToString

func Probe(name string, msg []byte, minimum int) (text, viewed, again string, err error) {
	switch name {
%s	}
	return text, viewed, again, err
}
`

const probeCase = `	case %q:
		viewed = View%[2]s(msg).String()
		if err = Check%[2]s(msg, minimum); err != nil {
			return
		}
		var t %[2]s
		if err = t.DecodeCell(msg); err != nil {
			return
		}
		b, fails := t.MarshalJSON()
		if text, err = string(b), fails; err != nil {
			return
		}
		var u %[2]s
		if err = u.UnmarshalJSON(b); err != nil {
			return
		}
		msg = make([]byte, u.SizeCell())
		_, err = u.EncodeCell(msg)
		again = hex.EncodeToString(msg)
`

const probeMain = `package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"

	"github.com/cell-runtime/cell/schema/view"
%s)

var probes = map[string]func(string, []byte, int) (string, string, string, error){
%s}

func main() {
	reasons := map[string]error{
		"ErrMessageShort": view.ErrShort, "ErrMessageBlock": view.ErrBlock,
		"ErrMessageReference": view.ErrReference, "ErrMessageOverlap": view.ErrOverlap,
	}
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	in := json.NewDecoder(os.Stdin)
	for {
		var q struct { Package, Type, Bytes string; Minimum int }
		if in.Decode(&q) != nil {
			return
		}
		msg, _ := hex.DecodeString(q.Bytes)
		a := map[string]string{}
		var err error
		a["Text"], a["Viewed"], a["Again"], err = probes[q.Package](q.Type, msg, q.Minimum)
		if err != nil {
			a["Error"], a["Reason"] = err.Error(), "another"
			for name, reason := range reasons {
				if errors.Is(err, reason) {
					a["Reason"] = name
				}
			}
		}
		b, _ := json.Marshal(a)
		out.Write(append(b, '\n'))
	}
}
`

// question is a message that the compiled program and the schema's codec both
// read; answer is what the program made of it.
type question struct {
	Package, Type, Bytes string
	Minimum              int

	name   string // for people
	schema *schema.Schema
	whole  bool // encoded by the schema's codec: it must come back as it is
	reason string
}

type answer struct{ Text, Viewed, Again, Error, Reason string }

// program is a module of packages of generated code and a command that probes
// them.
type program struct {
	t        *testing.T
	dir      string
	packages map[string]*schema.Schema
}

func root(t *testing.T) string {
	t.Helper()
	_, file, _, _ := runtime.Caller(0)
	dir, err := filepath.Abs(filepath.Join(filepath.Dir(file), "../../../.."))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func (p *program) write(name string, content []byte) {
	p.t.Helper()
	full := filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(full, content, 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// add generates a package from a schema.
func (p *program) add(name string, s *schema.Schema) {
	p.t.Helper()
	text, err := schema.Print(s)
	if err != nil {
		p.t.Fatalf("%s: %v", name, err)
	}
	code, err := gogen.Generate(s, gogen.Options{Package: name, Source: name + ".cell"})
	if err != nil {
		p.t.Fatalf("%s: %v\n%s", name, err, text)
	}
	p.write(name+"/"+name+".cell", []byte(text))
	p.write(name+"/"+name+"_cell.go", code)
	var cases strings.Builder
	for _, t := range s.Types {
		if t.Kind == schema.Struct && strings.Contains(string(code), "func Check"+gogen.GoName(t.Name)+"(") {
			fmt.Fprintf(&cases, probeCase, t.Name, gogen.GoName(t.Name))
		}
	}
	p.write(name+"/probe.go", fmt.Appendf(nil, probe, name, cases.String()))
	p.packages[name] = s
}

// run builds the program, which must pass vet, and has it answer.
func (p *program) run(questions []question) []answer {
	p.t.Helper()
	top := root(p.t)
	mod, err := os.ReadFile(filepath.Join(top, "go.mod"))
	if err != nil {
		p.t.Fatal(err)
	}
	sum, err := os.ReadFile(filepath.Join(top, "go.sum"))
	if err != nil {
		p.t.Fatal(err)
	}
	mod = bytes.Replace(mod, []byte("module github.com/cell-runtime/cell"), []byte("module example.org/probe"), 1)
	mod = fmt.Appendf(mod, "\nrequire github.com/cell-runtime/cell v0.0.0\n\nreplace github.com/cell-runtime/cell => %s\n", top)
	p.write("go.mod", mod)
	p.write("go.sum", sum)
	var imports, probes strings.Builder
	for name := range p.packages {
		fmt.Fprintf(&imports, "\t%q\n", "example.org/probe/"+name)
		fmt.Fprintf(&probes, "\t%q: %s.Probe,\n", name, name)
	}
	p.write("main.go", fmt.Appendf(nil, probeMain, imports.String(), probes.String()))
	binary := filepath.Join(p.dir, "probe")
	commands := [][]string{{"build", "-mod=mod", "-o", binary, "."}, {"vet", "-mod=mod", "./..."}}
	if testing.Short() {
		commands = commands[:1]
	}
	for _, args := range commands {
		cmd := exec.Command("go", args...)
		cmd.Dir = p.dir
		cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off", "GOPROXY=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			p.t.Fatalf("go %s: %v\n%s", args[0], err, out)
		}
	}
	var in bytes.Buffer
	encoder := json.NewEncoder(&in)
	for _, q := range questions {
		if err := encoder.Encode(q); err != nil {
			p.t.Fatal(err)
		}
	}
	cmd := exec.Command(binary)
	cmd.Stdin = &in
	cmd.WaitDelay = time.Minute
	var out, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problem
	if err := cmd.Run(); err != nil {
		p.t.Fatalf("the generated code fell over after %d of %d messages: %v\n%s", bytes.Count(out.Bytes(), []byte{'\n'}), len(questions), err, problem.String())
	}
	var answers []answer
	lines := bufio.NewScanner(&out)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var a answer
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			p.t.Fatal(err)
		}
		answers = append(answers, a)
	}
	return answers
}

// vectors is what the test needs of testdata/schema.json.
type vectors struct {
	Messages, Readings []struct {
		Name, File, Type, Bytes string
		Minimum                 int
	}
	Invalid []struct {
		Name, File, Type, Bytes, Reason string
		Minimum                         int
	} `json:"invalid_messages"`
}

// golden adds the golden vectors' packages to p and returns their messages.
func golden(p *program) []question {
	var v vectors
	text, err := os.ReadFile(filepath.Join(root(p.t), "testdata/schema.json"))
	if err == nil {
		err = json.Unmarshal(text, &v)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	var all []question
	add := func(name, file, typ, bytes string, minimum int, whole bool, reason string) {
		pkg := strings.TrimSuffix(file, ".cell")
		if p.packages[pkg] == nil {
			text, err := os.ReadFile(filepath.Join(root(p.t), "testdata/schema", file))
			if err != nil {
				p.t.Fatal(err)
			}
			s, err := schema.Parse(string(text))
			if err != nil {
				p.t.Fatal(err)
			}
			p.add(pkg, s)
		}
		all = append(all, question{Package: pkg, Type: typ, Bytes: bytes, Minimum: minimum,
			name: name, schema: p.packages[pkg], whole: whole, reason: reason})
	}
	for _, m := range v.Messages {
		add(m.Name, m.File, m.Type, m.Bytes, m.Minimum, true, "")
	}
	for _, m := range v.Readings {
		add(m.Name, m.File, m.Type, m.Bytes, m.Minimum, false, "")
	}
	for _, m := range v.Invalid {
		add(m.Name, m.File, m.Type, m.Bytes, m.Minimum, false, m.Reason)
	}
	return all
}

// random adds random schemas to p and returns messages of them, whole and
// damaged.
func random(p *program, seed uint64, schemas, messages int) []question {
	var all []question
	for i := range uint64(schemas) {
		s, name := randomSchema(seed+i), fmt.Sprintf("p%d", i)
		p.add(name, s)
		m := &maker{Rand: rand.New(rand.NewPCG(seed+i, 2))}
		code, err := os.ReadFile(filepath.Join(p.dir, name, name+"_cell.go"))
		if err != nil {
			p.t.Fatal(err)
		}
		for _, t := range s.Types {
			if t.Kind != schema.Struct || !strings.Contains(string(code), "func Check"+gogen.GoName(t.Name)+"(") {
				continue
			}
			codec, err := schema.NewCodec(t)
			if err != nil {
				p.t.Fatal(err)
			}
			for n := range messages {
				msg, err := codec.Encode(m.value(t))
				if err != nil {
					p.t.Fatal(err)
				}
				q := question{Package: name, Type: t.Name, Minimum: codec.Layout().Size, schema: s, whole: n%4 == 0}
				if !q.whole {
					msg = m.damage(msg)
					q.Minimum = m.IntN(q.Minimum + 1)
				}
				q.Bytes = hex.EncodeToString(msg)
				q.name = fmt.Sprintf("seed %d, message %d", seed+i, n)
				all = append(all, q)
			}
		}
	}
	return all
}

// TestGeneratedCodeAgreesWithTheSchemasCodec compiles code that is generated
// for the golden vectors and for random schemas, and compares what it makes of
// messages, whole ones and damaged ones, with what package schema makes of
// them. CELL_SEED chooses other schemas.
func TestGeneratedCodeAgreesWithTheSchemasCodec(t *testing.T) {
	p := &program{t: t, dir: t.TempDir(), packages: map[string]*schema.Schema{}}
	seed, schemas := uint64(1), 8
	if testing.Short() {
		schemas = 3
	}
	if text := os.Getenv("CELL_SEED"); text != "" {
		if _, err := fmt.Sscan(text, &seed); err != nil {
			t.Fatal(err)
		}
	}
	questions := append(golden(p), random(p, seed, schemas, 120)...)
	answers := p.run(questions)
	if len(answers) != len(questions) {
		t.Fatalf("%d answers to %d messages", len(answers), len(questions))
	}
	refused := 0
	for i, q := range questions {
		if !agrees(t, q, answers[i]) {
			text, _ := schema.Print(q.schema)
			t.Fatalf("the schema was\n%s", text)
		}
		if answers[i].Error != "" {
			refused++
		}
	}
	t.Logf("%d messages, of which %d were refused", len(questions), refused)
}

// agrees compares an answer with what the schema's codec says.
func agrees(t *testing.T, q question, a answer) bool {
	t.Helper()
	codec, err := schema.NewCodec(q.schema.Type(q.Type))
	if err != nil {
		t.Fatal(err)
	}
	msg, err := hex.DecodeString(q.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	text, err := codec.ToJSON(msg, q.Minimum)
	reason := ""
	for name, sentinel := range map[string]error{
		"ErrMessageShort": schema.ErrMessageShort, "ErrMessageBlock": schema.ErrMessageBlock,
		"ErrMessageReference": schema.ErrMessageReference, "ErrMessageOverlap": schema.ErrMessageOverlap,
	} {
		if errors.Is(err, sentinel) {
			reason = name
		}
	}
	if q.reason != "" && reason != q.reason {
		t.Errorf("%s: the schema's codec says %v, the golden vector %s", q.name, err, q.reason)
	}
	what := fmt.Sprintf("%s: %s.%s of %s, minimum %d", q.name, q.Package, q.Type, q.Bytes, q.Minimum)
	switch {
	case a.Reason != reason:
		t.Errorf("%s: generated code says %q, the schema's codec %v", what, a.Error, err)
	case err != nil:
		return true
	case a.Text != string(text):
		t.Errorf("%s:\ngenerated code reads  %s\nthe schema's codec %s", what, a.Text, text)
	case a.Viewed != string(text):
		t.Errorf("%s:\nthe view reads %s\nthe schema's codec %s", what, a.Viewed, text)
	case q.whole && a.Again != q.Bytes:
		t.Errorf("%s: generated code encodes it as %s", what, a.Again)
	default:
		return true
	}
	return false
}
