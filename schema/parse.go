package schema

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Parse reads a description, canonical or written by hand; docs/SCHEMA.md
// describes the language. What it returns is valid. The error is a
// [*TextError] with the first place where something is wrong; it wraps
// [ErrSyntax] or [ErrInvalid].
func Parse(text string) (*Schema, error) {
	if len(text) > MaxText {
		return nil, position{1, 1}.wrong("the text has %d bytes, above the limit of %d: split it into several descriptions", len(text), MaxText)
	}
	p := parser{
		lexer:     lexer{text: text, line: 1},
		schema:    &Schema{},
		types:     map[string]*Type{},
		mentioned: map[string]position{},
		declared:  map[string]position{},
		places:    map[subject]position{},
	}
	if err := p.file(); err != nil {
		return nil, err
	}
	if err := p.schema.Validate(); err != nil {
		return nil, p.located(err)
	}
	return p.schema, nil
}

// parser reads one description. Methods that parse something begin at its
// first token and end behind its last.
type parser struct {
	lexer  lexer
	tok    token // the next one
	schema *Schema
	docs   []string // comment lines that wait for what they describe

	types     map[string]*Type    // declared or only mentioned so far
	mentioned map[string]position // where a type was mentioned first
	declared  map[string]position // of types and services
	order     []string            // of mentioned
	places    map[subject]position
}

// located gives a broken rule its place in the text.
func (p *parser) located(err error) error {
	at := position{1, 1}
	what := err.Error()
	var rule *ruleError
	if errors.As(err, &rule) {
		if place, ok := p.places[rule.at]; ok {
			at = place
		}
		if what = rule.what; rule.where != "" {
			what = rule.where + ": " + what
		}
	}
	return &TextError{Line: at.line, Column: at.column, What: what, Err: ErrInvalid}
}

func (p *parser) advance() (err error) {
	p.tok, err = p.lexer.next()
	return err
}

// expect takes a token of that kind and returns its text; what describes it
// and how the whole line should look.
func (p *parser) expect(kind tokenKind, what string) (string, error) {
	if p.tok.kind != kind {
		return "", p.tok.at.wrong("found %v, want %s", p.tok, what)
	}
	text := p.tok.text
	return text, p.advance()
}

// word takes the word w, if it is next.
func (p *parser) word(w string) (bool, error) {
	if p.tok.kind != tokenWord || p.tok.text != w {
		return false, nil
	}
	return true, p.advance()
}

// file parses everything.
func (p *parser) file() error {
	if !utf8.ValidString(p.lexer.text) {
		return p.notUTF8()
	}
	if err := p.advance(); err != nil {
		return err
	}
	if err := p.version(); err != nil {
		return err
	}
	for {
		if err := p.blank(); err != nil {
			return err
		}
		if p.tok.kind == tokenEnd {
			break
		}
		if err := p.topLevel(); err != nil {
			return err
		}
	}
	if len(p.docs) > 0 {
		return p.tok.at.wrong("the comment before the end describes nothing: put it above a declaration")
	}
	for _, name := range p.order {
		at, known := p.declared[name]
		switch {
		case !known:
			return unknownType(p.mentioned[name], name)
		case p.types[name].Kind == 0:
			return p.mentioned[name].wrong("%s is a service (line %d), want a type", name, at.line)
		}
	}
	return nil
}

// notUTF8 finds the first byte that isn't.
func (p *parser) notUTF8() error {
	at := position{1, 1}
	for rest := p.lexer.text; rest != ""; {
		r, n := utf8.DecodeRuneInString(rest)
		if r == utf8.RuneError && n == 1 {
			return at.unexpected(rest)
		}
		if at.column += n; r == '\n' {
			at = position{at.line + 1, 1}
		}
		rest = rest[n:]
	}
	return nil
}

func (p *parser) version() error {
	if err := p.blank(); err != nil {
		return err
	}
	at := p.tok.at
	ok, err := p.word("cell")
	if err != nil {
		return err
	}
	if !ok {
		return at.wrong("found %v, want the line: cell %d", p.tok, Version)
	}
	n, err := p.expect(tokenNumber, "the version of the language, as in: cell "+strconv.Itoa(Version))
	if err != nil {
		return err
	}
	if n != strconv.Itoa(Version) {
		return at.wrong("version %s of the language: this program knows version %d alone; use a newer one", n, Version)
	}
	p.places[subject{p.schema, -1}] = at
	return p.end(&p.schema.Doc)
}

// blank skips empty lines and collects comments. An empty line between
// comments stays one.
func (p *parser) blank() error {
	for {
		switch p.tok.kind {
		case tokenComment:
			p.docs = append(p.docs, strings.TrimPrefix(p.tok.text, " "))
			if err := p.advance(); err != nil {
				return err
			}
			if p.tok.kind == tokenEnd {
				return nil
			}
		case tokenNewline:
			if n := len(p.docs); n > 0 && p.docs[n-1] != "" {
				p.docs = append(p.docs, "")
			}
		default:
			return nil
		}
		if err := p.advance(); err != nil {
			return err
		}
	}
}

// end takes the end of a declaration's line. The comment there, and those
// above, become its documentation.
func (p *parser) end(doc *string) error {
	if p.tok.kind == tokenComment {
		p.docs = append(p.docs, strings.TrimPrefix(p.tok.text, " "))
		if err := p.advance(); err != nil {
			return err
		}
	}
	*doc = CleanDoc(strings.Join(p.docs, "\n"))
	p.docs = nil
	return p.newline()
}

// newline takes the end of a line, which may be the end of the text.
func (p *parser) newline() error {
	switch p.tok.kind {
	case tokenEnd:
		return nil
	case tokenNewline:
		return p.advance()
	case '=':
		return p.tok.at.wrong("found '=', want the end of the line: fields have no numbers and no defaults, they are written NAME TYPE")
	case '[', '?':
		return p.tok.at.wrong("found '%c', want the end of the line: brackets and question mark stand before the type, as in []uint8, [4]uint8, ?uint8", p.tok.kind)
	case '{':
		return p.tok.at.wrong("found '{', want the end of the line: declare structs by name, at the top level")
	}
	return p.tok.at.wrong("found %v, want the end of the line", p.tok)
}

// topLevel parses a struct, union, enum or service.
func (p *parser) topLevel() error {
	at := p.tok.at
	const want = "struct, enum, union or service"
	word, err := p.expect(tokenWord, want)
	if err != nil {
		return err
	}
	var kind Kind
	switch word {
	case "struct":
		kind = Struct
	case "union":
		kind = Union
	case "enum":
		kind = Enum
	case "service":
	default:
		return at.wrong("found %q, want %s%s", word, want, otherDeclaration(word))
	}
	at = p.tok.at
	name, err := p.expect(tokenWord, "the "+word+"'s name")
	if err != nil {
		return err
	}
	if first, ok := p.declared[name]; ok {
		return at.wrong("%s is declared in line %d already", name, first.line)
	}
	p.declared[name] = at
	if word == "service" {
		return p.service(name, at)
	}
	if len(p.schema.Types) == MaxTypes {
		return at.wrong("more than %d types: split the description", MaxTypes)
	}
	t := p.typeNamed(name)
	t.Kind = kind
	p.places[subject{t, -1}] = at
	p.schema.Types = append(p.schema.Types, t)
	return p.declaration(t)
}

// otherDeclaration helps those who come from another language.
func otherDeclaration(word string) string {
	switch word {
	case "message", "type", "record", "class":
		return ": a message is a struct"
	case "interface", "protocol":
		return ": methods stand in a service"
	case "package", "import", "namespace", "option", "syntax":
		return ": a description stands alone, without packages and imports"
	case "const", "typedef", "alias":
		return ": there are neither constants nor other names for types; numbers with names are an enum"
	case "call", "oneway", "topic", "idempotent", "was":
		return ": methods stand within a service { … }"
	case "cell":
		return ": the version stands once, at the beginning"
	}
	return ""
}
