package schema

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrSyntax is wrapped by the errors of Parse that are about the text itself.
// Rules of the language that the text breaks wrap [ErrInvalid].
var ErrSyntax = errors.New("syntax error")

// TextError says where in a description something is wrong.
type TextError struct {
	Line, Column int    // from 1; columns count bytes
	What         string // what is wrong, and what to write instead
	Err          error  // ErrSyntax or ErrInvalid
}

// Error returns "LINE:COLUMN: what", before which a program puts the file's
// name and a colon.
func (e *TextError) Error() string { return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.What) }

// Unwrap returns [ErrSyntax] or [ErrInvalid].
func (e *TextError) Unwrap() error { return e.Err }

// position is a place in the text.
type position struct{ line, column int }

func (p position) wrong(format string, args ...any) error {
	return &TextError{Line: p.line, Column: p.column, What: fmt.Sprintf(format, args...), Err: ErrSyntax}
}

// tokenKind is what a token is; single characters such as '{' stand for
// themselves.
type tokenKind rune

const (
	tokenEnd     tokenKind = -iota - 1 // of the text
	tokenWord                          // letters, digits and underscores, a letter first
	tokenNumber                        // a digit or minus, then letters, digits and underscores
	tokenString                        // text holds what is between the quotes
	tokenComment                       // text holds what follows the slashes
)

// Newlines are tokens: the language is one of lines.
const tokenNewline tokenKind = '\n'

// maxNumber is the length of a 64-bit number in binary, with minus and 0b.
const maxNumber = 67

type token struct {
	kind tokenKind
	text string
	at   position
}

// String describes the token in an error.
func (t token) String() string {
	switch t.kind {
	case tokenEnd:
		return "the end of the text"
	case tokenNewline:
		return "the end of the line"
	case tokenComment:
		return "a comment"
	case tokenString:
		return `"` + t.text + `"`
	}
	return fmt.Sprintf("%q", t.text)
}

// lexer cuts a text into tokens; all of them are parts of it, nothing is
// copied.
type lexer struct {
	text  string
	at    int // where the next token begins
	line  int // of at
	begin int // where that line begins
}

func (l *lexer) position(at int) position { return position{l.line, at - l.begin + 1} }

// next returns the next token.
func (l *lexer) next() (token, error) {
	for l.at < len(l.text) && (l.text[l.at] == ' ' || l.text[l.at] == '\t' || strings.HasPrefix(l.text[l.at:], "\r\n")) {
		l.at++
	}
	t := token{at: l.position(l.at)}
	rest := l.text[l.at:]
	if rest == "" {
		t.kind = tokenEnd
		return t, nil
	}
	n := 1
	switch c := rest[0]; {
	case c == '\n':
		t.kind, t.text = tokenNewline, "\n"
		l.line, l.begin = l.line+1, l.at+1
	case strings.HasPrefix(rest, "//"):
		n = lineEnd(rest)
		t.kind, t.text = tokenComment, rest[2:n]
		return t, l.comment(t, n)
	case letter(c):
		n = wordEnd(rest)
		if t.kind, t.text = tokenWord, rest[:n]; n > MaxName {
			return t, t.at.wrong("the name %.20s… has %d bytes, above the limit of %d", t.text, n, MaxName)
		}
	case digit(c), c == '-':
		n = 1 + wordEnd(rest[1:])
		if t.kind, t.text = tokenNumber, rest[:n]; n > maxNumber {
			return t, t.at.wrong("the number %.20s… has %d digits, more than any may have", t.text, n)
		}
	case c == '"':
		end := strings.IndexAny(rest[1:], "\"\n")
		if end < 0 || rest[1+end] != '"' {
			return t, t.at.wrong("the quote is not closed on this line")
		}
		n = end + 2
		if t.kind, t.text = tokenString, rest[1:end+1]; end > MaxUnit {
			return t, t.at.wrong("the unit has %d bytes, above the limit of %d", end, MaxUnit)
		}
	case strings.IndexByte("{}()[]?,=", c) >= 0:
		t.kind, t.text = tokenKind(c), rest[:1]
	default:
		return t, t.at.unexpected(rest)
	}
	l.at += n
	return t, nil
}

// comment ends a comment of n bytes, which may not hide control characters
// from whoever reads it.
func (l *lexer) comment(t token, n int) error {
	for i, r := range t.text {
		if unicode.IsControl(r) && r != '\t' {
			return l.position(l.at+2+i).wrong("a control character (%U) in a comment", r)
		}
	}
	l.at += n
	return nil
}

// lineEnd returns where the first line of text ends, without its \r\n or \n.
func lineEnd(text string) int {
	n := strings.IndexByte(text, '\n')
	if n < 0 {
		return len(text)
	}
	if n > 0 && text[n-1] == '\r' {
		n--
	}
	return n
}

// wordEnd returns how many letters, digits and underscores text begins with.
func wordEnd(text string) int {
	for i := range len(text) {
		if c := text[i]; !letter(c) && !digit(c) && c != '_' {
			return i
		}
	}
	return len(text)
}

// unexpected says what to write instead of what rest begins with.
func (p position) unexpected(rest string) error {
	for _, habit := range [...]struct{ begin, instead string }{
		{"/*", "comments begin with // on each line"},
		{"/", "comments begin with //"},
		{"#", "comments begin with //"},
		{";", "the line's end ends a declaration, leave ';' out"},
		{":", "a field is written NAME TYPE, leave ':' out"},
		{"*", "a value that may be missing has the type ?T"},
		{"<", "there are no generic types: a list is []T, and instead of a map use a slice of structs with a key and a value"},
		{"@", "there are no annotations: docs/SCHEMA.md lists the words before and behind a declaration"},
		{".", "names have no dots: a description refers to its own types alone"},
		{"_", "a name begins with a letter"},
		{"'", `a unit stands in double quotes, as in: unit "ns"`},
		{"`", `a unit stands in double quotes, as in: unit "ns"`},
	} {
		if strings.HasPrefix(rest, habit.begin) {
			return p.wrong("unexpected %q: %s", habit.begin, habit.instead)
		}
	}
	r, n := utf8.DecodeRuneInString(rest)
	switch {
	case r == utf8.RuneError && n <= 1:
		return p.wrong("byte 0x%02x is not UTF-8", rest[0])
	case r == '\uFEFF':
		return p.wrong("a byte order mark: save the file as UTF-8 without one")
	case unicode.IsLetter(r):
		return p.wrong("unexpected %q: names are made of ASCII letters, digits and underscores", r)
	case unicode.IsControl(r):
		return p.wrong("a control character (%U)", r)
	}
	return p.wrong("unexpected %q", r)
}
