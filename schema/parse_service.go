package schema

import (
	"strconv"
)

func (p *parser) service(name string, at position) error {
	s := &Service{Name: name}
	p.places[subject{s, -1}] = at
	p.schema.Services = append(p.schema.Services, s)
	return p.body(&s.Doc, func() error { return p.method(s) })
}

// method parses [idempotent] call|oneway|topic NAME(…) [REPLY] and the lines
// of its ancestors.
func (p *parser) method(s *Service) error {
	const want = "a method: call NAME(Request) Reply, oneway NAME(Request) or topic NAME(Event)"
	m := Method{}
	var err error
	if m.Idempotent, err = p.word("idempotent"); err != nil {
		return err
	}
	at := p.tok.at
	if p.tok.kind == tokenWord && p.tok.text == "was" {
		return at.wrong("a line of an ancestor stands directly below its method, without comments between")
	}
	word, err := p.expect(tokenWord, want)
	if err != nil {
		return err
	}
	switch word {
	case "call":
		m.Mode = Unary
	case "oneway":
		m.Mode = OneWay
	case "topic":
		m.Mode = Topic
	default:
		return at.wrong("found %q, want %s", word, want)
	}
	p.places[subject{s, len(s.Methods)}] = p.tok.at
	if m.Name, err = p.expect(tokenWord, "the method's name"); err != nil {
		return err
	}
	if err := p.parameters(&m); err != nil {
		return err
	}
	if err := p.reply(&m); err != nil {
		return err
	}
	if err := p.end(&m.Doc); err != nil {
		return err
	}
	for p.tok.kind == tokenWord && p.tok.text == "was" {
		if err := p.ancestor(&m); err != nil {
			return err
		}
	}
	s.Methods = append(s.Methods, m)
	return nil
}

// parameters parses ([MESSAGE] [, in ITEM] [, out ITEM]), which decides what
// kind of call it is.
func (p *parser) parameters(m *Method) error {
	if _, err := p.expect('(', "'(' and the request, as in: call "+m.Name+"(Request) Reply"); err != nil {
		return err
	}
	var first, in, out *Type
	for n := 0; p.tok.kind != ')'; n++ {
		if n > 0 {
			if _, err := p.expect(',', "',' or ')'"); err != nil {
				return err
			}
		}
		into, at := &first, p.tok.at
		if p.tok.kind == tokenWord {
			switch p.tok.text {
			case "in":
				into = &in
			case "out":
				into = &out
			case "stream":
				return at.wrong("streams are written 'in ITEM' (from the client) and 'out ITEM' (from the server): call %s(Request, out Item) Reply", m.Name)
			}
		}
		if into != &first {
			if err := p.advance(); err != nil {
				return err
			}
		}
		switch {
		case *into != nil && into == &first:
			return at.wrong("a second message: put all of it into one struct; streams are written 'in ITEM' and 'out ITEM'")
		case *into != nil, into == &first && n > 0, into == &in && out != nil:
			return at.wrong("the order is: request, in, out, each at most once")
		}
		var err error
		if *into, err = p.message(); err != nil {
			return err
		}
	}
	if m.Mode != Unary && (in != nil || out != nil) {
		return p.tok.at.wrong("only calls have streams: write 'call' instead")
	}
	if first == nil {
		first = &Type{Kind: Struct}
	}
	switch {
	case m.Mode == Topic:
		m.Event = first
		return p.advance()
	case in != nil && out != nil:
		m.Mode = BothStreams
	case in != nil:
		m.Mode = ClientStream
	case out != nil:
		m.Mode = ServerStream
	}
	m.Request, m.In, m.Out = first, in, out
	return p.advance()
}

// reply parses what stands behind the parenthesis.
func (p *parser) reply(m *Method) error {
	switch p.tok.kind {
	case tokenNewline, tokenComment, tokenEnd:
		if m.Mode.Has(SlotReply) {
			m.Reply = &Type{Kind: Struct}
		}
		return nil
	case '(':
		return p.tok.at.wrong("the reply is written without parentheses; it is one struct, and errors are not declared")
	case tokenNumber: // "->" begins with a minus
		return p.tok.at.wrong("the reply directly follows the parenthesis: call %s(Request) Reply", m.Name)
	case tokenWord:
		switch p.tok.text {
		case "returns":
			return p.tok.at.wrong("the reply directly follows the parenthesis: call %s(Request) Reply", m.Name)
		case "idempotent":
			return p.tok.at.wrong("'idempotent' stands before 'call'")
		}
	}
	if !m.Mode.Has(SlotReply) {
		return p.tok.at.wrong("a %v method has no reply: write 'call' if it is to have one", m.Mode)
	}
	var err error
	m.Reply, err = p.message()
	return err
}

// message parses the name of a struct.
func (p *parser) message() (*Type, error) {
	at := p.tok.at
	name, err := p.expect(tokenWord, "the name of a struct")
	if err != nil {
		return nil, err
	}
	if _, ok := builtin[name]; ok {
		return nil, at.wrong("messages are structs, so that they can grow: declare one with a field of type %s", name)
	}
	return p.mention(name, at), nil
}

// ancestor parses was FINGERPRINT {SLOT LENGTH}.
func (p *parser) ancestor(m *Method) error {
	if err := p.advance(); err != nil {
		return err
	}
	at := p.tok.at
	f, err := strconv.ParseUint(p.tok.text, 16, 64)
	if err != nil || len(p.tok.text) != 16 {
		return at.wrong("found %v, want a fingerprint of 16 hexadecimal digits", p.tok)
	}
	a := Ancestor{Fingerprint: f}
	if err := p.advance(); err != nil {
		return err
	}
	for s := range Slot(slots) {
		if !m.Mode.Has(s) {
			continue
		}
		if ok, err := p.word(s.String()); err != nil {
			return err
		} else if !ok {
			return p.tok.at.wrong("found %v, want '%v' and the length of its block in bytes", p.tok, s)
		}
		at := p.tok.at
		text, err := p.expect(tokenNumber, "a length in bytes")
		if err != nil {
			return err
		}
		n, err := strconv.ParseUint(text, 10, 31)
		if err != nil || n > MaxBlock {
			return at.wrong("%s is not a length of at most %d bytes", text, MaxBlock)
		}
		*a.length(s) = int(n)
	}
	m.Ancestors = append(m.Ancestors, a)
	return p.newline()
}
