package gosrc

import (
	"go/ast"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/cell-runtime/cell/schema"
)

// directives returns the //cell: lines of a doc comment and refuses those that
// are not among the known ones.
func (s *source) directives(doc *ast.CommentGroup, known ...string) map[string]bool {
	found := map[string]bool{}
	if doc == nil {
		return found
	}
	for _, comment := range doc.List {
		name, ok := strings.CutPrefix(comment.Text, "//cell:")
		if !ok {
			continue
		}
		name = strings.TrimSpace(name)
		if !slices.Contains(known, name) {
			s.refuse(comment.Pos(), "//cell:%s means nothing here: what may stand here is //cell:%s", name, strings.Join(known, ", //cell:"))
		}
		found[name] = true
	}
	return found
}

// text returns a comment as documentation, without directives.
func text(groups ...*ast.CommentGroup) string {
	var lines []string
	for _, group := range groups {
		if group != nil {
			lines = append(lines, strings.TrimRight(group.Text(), "\n"))
		}
	}
	return schema.CleanDoc(strings.Join(lines, "\n"))
}

// unitWord begins the line of a comment that states a field's unit.
const unitWord = "unit:"

// fieldDoc returns the documentation and the unit of a field: what stands
// above it and behind it, and a unit by a line "unit: ns" or by the tag
// `cell:"unit=ns"`, of which the tag wins.
func (s *source) fieldDoc(f *ast.Field) (doc, unit string) {
	var lines []string
	for line := range strings.SplitSeq(text(f.Doc, f.Comment), "\n") {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), unitWord); ok {
			unit = strings.TrimSpace(rest)
			continue
		}
		lines = append(lines, line)
	}
	if tagged := s.tagUnit(f); tagged != "" {
		unit = tagged
	}
	return schema.CleanDoc(strings.Join(lines, "\n")), unit
}

func (s *source) tagUnit(f *ast.Field) string {
	if f.Tag == nil {
		return ""
	}
	tag, err := strconv.Unquote(f.Tag.Value)
	if err != nil {
		return ""
	}
	value, ok := reflect.StructTag(tag).Lookup("cell")
	if !ok {
		return ""
	}
	unit, ok := strings.CutPrefix(value, "unit=")
	if !ok || strings.TrimSpace(unit) == "" {
		s.refuse(f.Tag.Pos(), "the tag cell:%q says nothing: what may stand there is cell:\"unit=ns\"", value)
	}
	return strings.TrimSpace(unit)
}
