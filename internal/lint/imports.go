package lint

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

const (
	// Module is the path of the product's module.
	Module = "github.com/cell-runtime/cell"

	sysModule = "golang.org/x/sys"
	hdrModule = "github.com/HdrHistogram/hdrhistogram-go"
)

// Package is what the import table needs of one package as go list -json
// prints it.
type Package struct {
	ImportPath string
	Standard   bool
	Imports    []string // direct
	Deps       []string // all, transitively
}

// DecodePackages reads the stream of objects that go list -json prints.
func DecodePackages(r io.Reader) ([]Package, error) {
	var all []Package
	for d := json.NewDecoder(r); ; {
		var p Package
		switch err := d.Decode(&p); {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("go list printed something else than packages: %w", err)
		}
		all = append(all, p)
	}
}

// The layers of docs/ARCHITECTURE.md, by folder at the repository's root. A
// folder covers its sub-packages. Packages that do not exist yet have their
// place already.
var (
	formats  = []string{"wire", "bulk", "schema"}
	machine  = []string{"ring", "sched", "metrics", "identity"}
	links    = []string{"uds", "afxdp", "ebpf", "quic", "serial", "can"}
	calls    = []string{"engine", "rpc"}
	organism = []string{"discovery", "capsid", "consensus", "registry"}
	programs = []string{"node", "cmd"}
	// beside stands outside the layers: nothing imports it, but cellbench
	// takes the sources of its yardsticks in C from perf.
	beside = []string{"perf", "examples", "bindings", "firmware", "internal/lint"}
)

// mayImport returns the folders that folder's packages may need, directly or
// not, besides folder itself; ok is false for a folder outside the table.
func mayImport(folder string) (allowed []string, ok bool) {
	switch {
	case folder == "schema": // builders copy payloads
		return []string{"bulk"}, true
	case slices.Contains(formats, folder):
		return nil, true
	case slices.Contains(machine, folder), strings.HasPrefix(folder, "internal/"):
		return formats, true
	case folder == "link":
		return slices.Concat(formats, machine), true
	case folder == "afxdp": // its sockets need a program that sends packets to them
		return slices.Concat(formats, machine, []string{"link", "ebpf"}), true
	case slices.Contains(links, folder), folder == "engine":
		return slices.Concat(formats, machine, []string{"link"}), true
	case folder == "rpc":
		return slices.Concat(formats, machine, []string{"link", "engine"}), true
	case slices.Contains(organism, folder):
		return slices.Concat(formats, machine, []string{"link"}, links, calls), true
	case folder == "examples": // of which some call the demo firmware
		return slices.Concat(formats, machine, []string{"link"}, links, calls, organism, programs, []string{"firmware"}), true
	case slices.Contains(programs, folder), slices.Contains(beside, folder):
		return slices.Concat(formats, machine, []string{"link"}, links, calls, organism, programs, []string{"perf"}), true
	}
	return nil, false
}

// rich are the packages within lean folders that exist to join a library, so
// that nobody else has to.
var rich = []string{"metrics/hdr", "rpc/policy", "rpc/otel"}

// lean reports whether a package may need nothing beyond the standard library
// and golang.org/x/sys: who imports only ring or rpc gets only those.
func lean(rel string) bool {
	folder := folderOf(rel)
	return !slices.Contains(rich, rel) && !slices.Contains(beside, folder) &&
		(strings.HasPrefix(folder, "internal/") ||
			slices.Contains(slices.Concat(formats, machine, calls, []string{"link", "uds"}), folder))
}

// wireMayImport is all of the standard library that wire uses, so that
// firmware tools and generators can lean on it.
var wireMayImport = []string{"encoding/binary", "errors"}

// hdrImporters are the packages that may import hdrhistogram-go, with what is
// below them: the export of histograms, and the program that draws them.
var hdrImporters = []string{"metrics/hdr", "cmd/cellbench"}

// cellnodeOnly are modules that one program alone needs.
var cellnodeOnly = []string{"github.com/spf13/cobra", "github.com/gdamore/tcell"}

// confined are modules that only one place may import, so that a program can
// be built without them, or another one can take their place.
var confined = map[string]string{
	"github.com/lni/dragonboat":         "consensus/dragonboat",
	"github.com/lni/vfs":                "consensus/dragonboat",
	"github.com/google/btree":           "consensus/kv",
	"github.com/anishathalye/porcupine": "consensus", // its tests
	"github.com/quic-go/quic-go":        "quic",
	"github.com/asavie/xdp":             "afxdp/asavie",
}

// CheckImports holds the product's packages among all to the import table.
// all must contain their dependencies too, as go list -deps prints them.
func CheckImports(all []Package) []Finding {
	standard := make(map[string]bool, len(all))
	for _, p := range all {
		standard[p.ImportPath] = p.Standard
	}
	var found []Finding
	for _, p := range all {
		rel, ours := inModule(p.ImportPath)
		if !ours {
			continue
		}
		allowed, known := mayImport(folderOf(rel))
		if !known {
			found = append(found, Finding{Path: rel, What: "is in no layer: give its folder a place in the table of docs/ARCHITECTURE.md and of internal/lint"})
			continue
		}
		for _, dep := range p.Deps {
			if what := checkDep(rel, dep, allowed, standard[dep]); what != "" {
				found = append(found, Finding{Path: rel, What: what})
			}
		}
		for _, direct := range p.Imports {
			if what := checkDirect(rel, direct); what != "" {
				found = append(found, Finding{Path: rel, What: what})
			}
		}
	}
	return found
}

// checkDep says what is wrong with package rel needing dep, by whatever way.
func checkDep(rel, dep string, allowed []string, standard bool) string {
	target, ours := inModule(dep)
	switch {
	case standard:
		return ""
	case !ours:
		if lean(rel) && !within(dep, sysModule) {
			return "needs " + dep + ", but may need only the standard library and " + sysModule
		}
		return ""
	}
	folder := folderOf(target)
	if folder == folderOf(rel) || slices.Contains(allowed, folder) {
		return ""
	}
	// Layer 0 stays free of helpers; every other layer may use internal ones.
	if strings.HasPrefix(folder, "internal/") && !slices.Contains(beside, folder) && !slices.Contains(formats, folderOf(rel)) {
		return ""
	}
	return "needs " + target + ", which its layer may not: see the table in docs/ARCHITECTURE.md; go list -deps says by which way"
}

// checkDirect says what is wrong with the import statement itself.
func checkDirect(rel, path string) string {
	switch {
	case folderOf(rel) == "wire" && !slices.Contains(wireMayImport, path):
		return "imports " + path + ", but wire may import only " + strings.Join(wireMayImport, " and ")
	case !mayImportConfined(rel, path):
		return "imports " + path + ", which is confined to one place: see confined in internal/lint/imports.go"
	case within(path, hdrModule) && !slices.ContainsFunc(hdrImporters, func(root string) bool { return within(rel, root) }):
		return "imports " + hdrModule + ", which only " + strings.Join(hdrImporters, " and ") + " may"
	case !within(rel, "cmd/cellnode") && slices.ContainsFunc(cellnodeOnly, func(root string) bool { return within(path, root) }):
		return "imports " + path + ", which only cmd/cellnode may"
	}
	return ""
}

func mayImportConfined(rel, path string) bool {
	for module, place := range confined {
		if within(path, module) && !within(rel, place) {
			return false
		}
	}
	return true
}

// within reports whether path is root or lies below it.
func within(path, root string) bool {
	return path == root || strings.HasPrefix(path, root+"/")
}

// inModule returns a package's path from the repository's root, and whether
// it is the product's at all.
func inModule(path string) (rel string, ours bool) {
	if path == Module {
		return ".", true
	}
	return strings.CutPrefix(path, Module+"/")
}

// folderOf returns the folder by which the table knows a package: the first
// element of its path, or two of them below internal.
func folderOf(rel string) string {
	first, rest, _ := strings.Cut(rel, "/")
	if rest == "examples" || strings.HasPrefix(rest, "examples/") { // of a module, which alone has what they need
		return "examples"
	}
	if first == "internal" {
		second, _, _ := strings.Cut(rest, "/")
		return first + "/" + second
	}
	return first
}
