package lint

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
)

// tree makes a file system from pairs of path and content.
func tree(files map[string]string) fs.FS {
	m := fstest.MapFS{}
	for name, content := range files {
		m[name] = &fstest.MapFile{Data: []byte(content)}
	}
	return m
}

// expect fails unless found is one finding that contains want, or none where
// want is empty.
func expect(t *testing.T, found []Finding, want string) {
	t.Helper()
	switch {
	case want == "" && len(found) > 0:
		t.Errorf("found %v in a good sample", found)
	case want != "" && len(found) != 1:
		t.Errorf("found %v; want exactly one, with %q", found, want)
	case want != "" && !strings.Contains(found[0].String(), want):
		t.Errorf("found %q; want it to contain %q", found[0], want)
	}
}

func TestImportRules(t *testing.T) {
	for name, c := range map[string]struct {
		pkg  string
		dep  string
		want string
	}{
		"machine on formats":                     {"ring", Module + "/wire", ""},
		"machine on machine":                     {"ring", Module + "/sched", "ring: needs sched"},
		"formats on nothing of ours":             {"schema", Module + "/wire", "schema: needs wire"},
		"formats on internal":                    {"schema", Module + "/internal/x", "schema: needs internal/x"},
		"machine on internal":                    {"ring", Module + "/internal/x", ""},
		"internal on a link":                     {"internal/x", Module + "/uds", "internal/x: needs uds"},
		"anything on lint":                       {"cmd/cellbench", Module + "/internal/lint", "needs internal/lint"},
		"link on machine":                        {"link", Module + "/ring", ""},
		"the suite on its own folder":            {"link/linktest", Module + "/link", ""},
		"the interface on a link":                {"link", Module + "/uds", "link: needs uds"},
		"a link on the interface":                {"uds", Module + "/link", ""},
		"a link on another":                      {"quic", Module + "/uds", "quic: needs uds"},
		"a link on an engine":                    {"uds", Module + "/engine", "uds: needs engine"},
		"an engine on the interface":             {"engine", Module + "/link", ""},
		"an engine on a link":                    {"engine", Module + "/uds", "engine: needs uds"},
		"an engine on a suite":                   {"engine", Module + "/link/linktest", ""},
		"organism on a link":                     {"discovery", Module + "/quic", ""},
		"organism on organism":                   {"discovery", Module + "/capsid", "discovery: needs capsid"},
		"organism on a program":                  {"registry", Module + "/node", "registry: needs node"},
		"a program on all":                       {"cmd/cellnode", Module + "/registry", ""},
		"lean on x/sys":                          {"ring", "golang.org/x/sys/unix", ""},
		"lean on a name that looks like it":      {"ring", "golang.org/x/sysfake", "ring: needs golang.org/x/sysfake"},
		"lean on a library":                      {"rpc", "example.com/lib", "rpc: needs example.com/lib"},
		"lean on the standard library":           {"ring", "strings", ""},
		"a link's own library":                   {"quic", "example.com/lib", ""},
		"the export of histograms on its own":    {"metrics/hdr", hdrModule, ""},
		"a sibling of the export on its library": {"metrics/file", hdrModule, "metrics/file: needs " + hdrModule},
		"a folder outside the table":             {"misc", "strings", "misc: is in no layer"},
		"the root itself":                        {".", "strings", "is in no layer"},
	} {
		t.Run(name, func(t *testing.T) {
			path := Module + "/" + c.pkg
			if c.pkg == "." {
				path = Module
			}
			// Only as a transitive dependency: the table holds for those too.
			expect(t, CheckImports([]Package{
				{ImportPath: "strings", Standard: true},
				{ImportPath: path, Deps: []string{c.dep}},
			}), c.want)
		})
	}
}

func TestDirectImportRules(t *testing.T) {
	for name, c := range map[string]struct{ pkg, imports, want string }{
		"wire on what it may":         {"wire", "encoding/binary", ""},
		"wire on more of the library": {"wire", "fmt", "wire: imports fmt"},
		"others on the library":       {"schema", "fmt", ""},
		"cellbench on hdrhistogram":   {"cmd/cellbench", hdrModule, ""},
		"a part of cellbench on it":   {"cmd/cellbench/internal/report", hdrModule, ""},
		"a name that looks like it":   {"cmd/cellbenchmark", hdrModule, "imports"},
		"cellnode on hdrhistogram":    {"cmd/cellnode", hdrModule, "cmd/cellnode: imports"},
		"cellnode on its own library": {"cmd/cellnode/internal/cli", cellnodeOnly[0] + "/doc", ""},
		"another program on that":     {"cmd/cellgen", cellnodeOnly[0], "cmd/cellgen: imports"},
		"the backend on its Raft":     {"consensus/dragonboat", "github.com/lni/dragonboat/v4/config", ""},
		"the interface on a Raft":     {"consensus", "github.com/lni/dragonboat/v4", "consensus: imports"},
		"a program on a Raft":         {"cmd/cellnode", "github.com/lni/dragonboat/v4", "cmd/cellnode: imports"},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, CheckImports([]Package{{ImportPath: Module + "/" + c.pkg, Imports: []string{c.imports}}}), c.want)
		})
	}
}

func TestDecodePackagesRefusesOtherOutput(t *testing.T) {
	if _, err := DecodePackages(strings.NewReader("{}\ngo: error")); err == nil {
		t.Error("accepted text after a package")
	}
}

func TestFileRules(t *testing.T) {
	long := "package a\n\nfunc (t *T[K]) Long() {\n" + strings.Repeat("\tstep()\n", MaxFunctionLines) + "}\n"
	huge := "package a\n" + strings.Repeat("\n// x\n", MaxFileLines/2)
	size := func(allowed map[string]string) func(fs.FS) ([]Finding, error) {
		return func(tree fs.FS) ([]Finding, error) { return CheckSize(tree, allowed) }
	}
	for name, c := range map[string]struct {
		rule       func(fs.FS) ([]Finding, error)
		path, text string
		want       string
	}{
		"unsafe outside":             {CheckFence, "a/b.go", "package a\n\nimport \"unsafe\"\n", "a/b.go:3: imports unsafe"},
		"unsafe under another name":  {CheckFence, "a/b.go", "package a\n\nimport u \"unsafe\"\n", "a/b.go:3: imports unsafe"},
		"unsafe in a test":           {CheckFence, "a/b_test.go", "package a\n\nimport \"unsafe\"\n", "imports unsafe"},
		"unsafe inside":              {CheckFence, "a/b_unsafe.go", "package a\n\nimport \"unsafe\"\n", ""},
		"unsafe inside a test":       {CheckFence, "a/b_unsafe_test.go", "package a\n\nimport \"unsafe\"\n", ""},
		"unsafe in a word":           {CheckFence, "a/b.go", "package a\n\n// unsafe is a word.\n", ""},
		"linkname outside":           {CheckFence, "a/b.go", "package a\n\n//go:linkname x runtime.x\n", "a/b.go:3: go:linkname"},
		"linkname inside":            {CheckFence, "a/b_unsafe.go", "package a\n\n//go:linkname x runtime.x\n", ""},
		"cgo even behind the fence":  {CheckFence, "a/b_unsafe.go", "package a\n\nimport \"C\"\n", "imports C"},
		"samples are not ours":       {CheckFence, "a/testdata/b.go", "package a\n\nimport \"C\"\n", ""},
		"hidden folders are not":     {CheckFence, ".git/b.go", "package a\n\nimport \"C\"\n", ""},
		"package util":               {CheckNames, "a/b.go", "package util\n", "a/b.go:1: package util"},
		"package helpers, its test":  {CheckNames, "a/b_test.go", "package helpers_test\n", "package helpers_test"},
		"package ring":               {CheckNames, "a/b.go", "package ring\n", ""},
		"unformatted":                {CheckFormat, "a/b.go", "package a\nfunc f( ) { }\n", "gofmt"},
		"formatted":                  {CheckFormat, "a/b.go", "package a\n\nfunc f() {}\n", ""},
		"long function":              {size(nil), "a/b.go", long, "a/b.go:3: T.Long has 72 lines"},
		"long function, excused":     {size(map[string]string{"a/b.go:T.Long": "a table"}), "a/b.go", long, ""},
		"excused without a reason":   {size(map[string]string{"a/b.go:T.Long": ""}), "a/b.go", long, "72 lines"},
		"an excuse nobody needs":     {size(map[string]string{"a/c.go": "old"}), "a/b.go", "package a\n", "a/c.go: is on the list"},
		"long function in a test":    {size(nil), "a/b_test.go", long, ""},
		"long file":                  {size(nil), "a/b.go", huge, "a/b.go: 501 lines"},
		"long file, generated":       {size(nil), "a/b.go", "// Code generated by x. DO NOT EDIT.\n" + huge, ""},
		"long file that mentions it": {size(nil), "a/b.go", huge + "// Code generated by x. DO NOT EDIT.\n", "502 lines"},
		"dead link":                  {CheckLinks, "docs/a.md", "one\n[x](gone.md)\n", "docs/a.md:2: link to gone.md"},
		"dead link with an anchor":   {CheckLinks, "docs/a.md", "[x](gone.md#part \"title\")\n", "no docs/gone.md"},
		"dead reference":             {CheckLinks, "a.md", "[x]: gone.md\n", "link to gone.md"},
		"dead picture":               {CheckLinks, "a.md", "![x](gone.svg)\n", "link to gone.svg"},
		"link out of the repository": {CheckLinks, "a.md", "[x](../a.md)\n", "outside"},
		"absolute link":              {CheckLinks, "a.md", "[x](/a.md)\n", "make it relative"},
		"living links":               {CheckLinks, "docs/a.md", "[x](a.md) [y](./a.md#z) [z](../docs) [w](#here)\n", ""},
		"links elsewhere":            {CheckLinks, "a.md", "[x](https://example.com/gone) [y](mailto:a@b)\n", ""},
		"links in code":              {CheckLinks, "a.md", "`[x](gone)`\n```\n[x](gone)\n```\n~~~\n```\n[x](gone)\n~~~\n", ""},
		"dead link behind code":      {CheckLinks, "a.md", "```\ncode\n```\n[x](gone)\n", "a.md:4: link to gone"},
	} {
		t.Run(name, func(t *testing.T) {
			found, err := c.rule(tree(map[string]string{c.path: c.text}))
			if err != nil {
				t.Fatal(err)
			}
			expect(t, found, c.want)
		})
	}
}

func TestBrokenGoFileIsAnError(t *testing.T) {
	if _, err := CheckFence(tree(map[string]string{"a/b.go": "package"})); err == nil {
		t.Error("a file that is not Go was passed over")
	}
}
