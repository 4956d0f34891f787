package gogen

import (
	"strings"

	"github.com/cell-runtime/cell/schema"
)

// comment writes a doc comment: summary, then more, where it is not empty.
func (g *generator) comment(indent, summary string, more ...string) {
	first := true
	for _, text := range append([]string{summary}, more...) {
		if text == "" {
			continue
		}
		if !first {
			g.p("%s//", indent)
		}
		first = false
		for line := range strings.SplitSeq(text, "\n") {
			for _, line := range wrap(line) {
				g.p("%s", strings.TrimRight(indent+"// "+line, " "))
			}
		}
	}
}

// wrap breaks a line that is too long for a comment at its spaces, unless it
// is indented, which means that its form matters.
func wrap(line string) []string {
	const limit, most = 77, 90
	if len(line) <= most || strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
		return []string{line}
	}
	var lines []string
	for len(line) > limit {
		at := strings.LastIndexByte(line[:limit+1], ' ')
		if at <= 0 {
			break
		}
		lines = append(lines, line[:at])
		line = line[at+1:]
	}
	return append(lines, line)
}

// about returns what a schema says of the thing called name, so that it can
// stand as that thing's comment: beginning with its name, or else otherwise.
func about(name, doc, otherwise string) string {
	switch {
	case doc == "":
		return otherwise
	case doc == name, strings.HasPrefix(doc, name) && !isNameByte(doc[len(name)]):
		return doc
	}
	return name + ": " + doc
}

func isNameByte(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}

// ofField returns the comment of a method that handles field f by name.
func ofField(name, what string, f schema.Field) string {
	text := name + " " + what
	if f.Unit != "" {
		text += ", in " + f.Unit
	}
	text += "."
	if f.Doc != "" {
		text += "\n" + f.Doc
	}
	return text
}

// article returns the name with a or an.
func article(name string) string {
	if strings.ContainsRune("AEIOaeio", rune(name[0])) {
		return "an " + name
	}
	return "a " + name
}
