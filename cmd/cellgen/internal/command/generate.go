package command

import (
	"cmp"
	"errors"
	"fmt"
	"go/token"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cell-runtime/cell/cmd/cellgen/internal/gogen"
	"github.com/cell-runtime/cell/cmd/cellgen/internal/gosrc"
	"github.com/cell-runtime/cell/schema"
)

// job is one file to be generated from.
type job struct {
	source string // the .go or .cell file
	check  bool   // write nothing, compare
	pkg    string // the package, for a .cell file
	older  string // the description whose forms become ancestors
	forget bool   // take none
	quiet  bool
}

func runGenerate(env environment, args []string) (int, error) {
	j := job{}
	flags := newFlags("cellgen")
	flags.BoolVar(&j.check, "check", false, "write nothing; exit with 1 if a generated file is not what would be written")
	flags.StringVar(&j.pkg, "package", "", "`name` of the Go package, for a FILE.cell in a folder without Go files")
	flags.StringVar(&j.older, "older", "", "`FILE`.cell whose forms the server goes on to accept where only fields were appended; default for FILE.go: the description that is there")
	flags.BoolVar(&j.forget, "forget-ancestors", false, "don't go on from any description: earlier forms are accepted no more")
	flags.BoolVar(&j.quiet, "q", false, "don't say what became of the methods")
	operands, err := parse(env, flags, "cellgen [flags] [FILE.go | FILE.cell]", args)
	if err != nil {
		return 0, err
	}
	switch {
	case len(operands) > 1:
		return 0, fmt.Errorf("one file at a time, not %q: %w", operands, errUsage)
	case len(operands) == 1:
		j.source = operands[0]
	default:
		j.source = env.getenv("GOFILE")
	}
	if j.source == "" {
		return 0, fmt.Errorf("no FILE, and go generate, which would name one, does not run: %w", errUsage)
	}
	return j.run(env)
}

// outputs returns the names of the description and of the Go file.
func (j job) outputs() (description, code string) {
	stem := strings.TrimSuffix(j.source, filepath.Ext(j.source))
	return stem + ".cell", stem + gosrc.GeneratedSuffix
}

func (j job) run(env environment) (int, error) {
	var (
		source *gosrc.Source
		err    error
	)
	description, code := j.outputs()
	switch filepath.Ext(j.source) {
	case ".go":
		source, err = gosrc.Load(j.source)
	case ".cell":
		source, err = j.readDescription()
	default:
		return 0, fmt.Errorf("%s is neither a command nor a .go or .cell file: %w", j.source, errUsage)
	}
	if err != nil {
		return 0, err
	}
	if source.Changes, err = j.inherit(source.Schema); err != nil {
		return 0, err
	}
	text, err := schema.Print(source.Schema)
	if err != nil {
		return 0, err
	}
	// From the text alone, as generators of other languages do.
	parsed, err := schema.Parse(text)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", description, err)
	}
	generated, err := gogen.Generate(parsed, gogen.Options{
		Package: source.Package, Source: filepath.Base(description), Declared: source.Declared,
	})
	if err != nil {
		return 0, fmt.Errorf("%s: %w", j.source, err)
	}
	return j.write(env, source, []output{{description, []byte(text)}, {code, generated}})
}

// readDescription reads a description that was written by hand.
func (j job) readDescription() (*gosrc.Source, error) {
	text, err := os.ReadFile(j.source)
	if err != nil {
		return nil, err
	}
	s, err := schema.Parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", j.source, err)
	}
	source, err := gosrc.Around(j.source)
	if err != nil {
		return nil, err
	}
	source.Schema = s
	if source.Package == "" && j.pkg == "" {
		return nil, fmt.Errorf("%s lies in a folder without Go files: name the package with -package: %w", j.source, errUsage)
	}
	if source.Package != "" && j.pkg != "" && source.Package != j.pkg {
		return nil, fmt.Errorf("%s lies in a folder with package %s: -package %s does not fit: %w", j.source, source.Package, j.pkg, errUsage)
	}
	source.Package = cmp.Or(j.pkg, source.Package)
	return source, nil
}

// packageOf returns the package to generate code for beside a description: that
// of the Go files there, or else one called like the folder.
func packageOf(description string) (string, error) {
	source, err := gosrc.Around(description)
	if err != nil || source.Package != "" {
		return source.Package, err
	}
	folder, err := filepath.Abs(filepath.Dir(description))
	if err != nil {
		return "", err
	}
	name := strings.ToLower(filepath.Base(folder))
	if !token.IsIdentifier(name) {
		return "", fmt.Errorf("the folder's name %s is none for a package: name one with -package: %w", name, errUsage)
	}
	return name, nil
}

// inherit gives the methods of s their ancestors out of an older description.
func (j job) inherit(s *schema.Schema) ([]schema.Change, error) {
	older := j.older
	if older == "" && filepath.Ext(j.source) == ".go" {
		older, _ = j.outputs()
	}
	if j.forget || older == "" {
		return nil, nil
	}
	text, err := os.ReadFile(older)
	if errors.Is(err, fs.ErrNotExist) && j.older == "" {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	before, err := schema.Parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s, which holds the earlier forms: %w\nmend it, or take it from version control, or start anew with -forget-ancestors", older, err)
	}
	return schema.Inherit(before, s)
}

// output is a file to be written.
type output struct {
	name    string
	content []byte
}

// write writes the outputs that differ from what is there, or says that they
// differ.
func (j job) write(env environment, source *gosrc.Source, outputs []output) (int, error) {
	code := exitOK
	for _, o := range outputs {
		old, err := os.ReadFile(o.name)
		switch {
		case err == nil && string(old) == string(o.content):
			continue
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return 0, err
		case j.check:
			fmt.Fprintf(env.stderr, "%s is not what cellgen writes from %s: run go generate\n", o.name, j.source)
			code = exitFound
			continue
		}
		if err := os.WriteFile(o.name, o.content, 0o644); err != nil {
			return 0, err
		}
	}
	if !j.quiet {
		report(env.stdout, source.Changes)
	}
	return code, nil
}

// report says what became of the methods that are not as they were.
func report(w io.Writer, changes []schema.Change) {
	for _, c := range changes {
		if c.Verdict != schema.Same {
			fmt.Fprintln(w, c)
		}
	}
}
