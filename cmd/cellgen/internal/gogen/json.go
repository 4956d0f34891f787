package gogen

import (
	"strings"

	"github.com/cell-runtime/cell/schema"
)

// textName is the name of the variable that holds the description, and what
// the names of other things of the whole file begin with.
func (g *generator) textName() string {
	base, _, _ := strings.Cut(g.opts.Source, ".")
	clean := strings.Map(func(r rune) rune {
		if r < 0x80 && isNameByte(byte(r)) {
			return r
		}
		return '_'
	}, base)
	name := GoName("_" + clean)
	if name == "" || !('a' <= name[0]|0x20 && name[0]|0x20 <= 'z') {
		name = "D" + name
	}
	return strings.ToLower(name[:1]) + name[1:]
}

// text writes the description into the file, by embedding it, and what makes
// codecs of it.
func (g *generator) text() {
	if !g.needText {
		return
	}
	name := g.textName()
	for _, own := range []string{name + "Cell", name + "Schema", name + "Codec"} {
		g.claim(own, "a name of generated code")
	}
	g.p("// %sCell is the description from which this file was generated.\n//\n//go:embed %s\nvar %sCell string\n", name, g.opts.Source, name)
	if !g.needCodec {
		return
	}
	g.p("var %sSchema = sync.OnceValues(func() (*schema.Schema, error) { return schema.Parse(%sCell) })\n", name, name)
	g.p("// %sCodec returns what turns messages of that name into JSON and back.", name)
	g.p("func %sCodec(name string) (*schema.Codec, error) {\n\ts, err := %sSchema()\n\tif err != nil {\n\t\treturn nil, err\n\t}\n\treturn schema.NewCodec(s.Type(name))\n}\n", name, name)
}

// jsonMethods writes the methods that encoding/json looks for, for tools: they
// are slow, and the same for all languages.
func (g *generator) jsonMethods(l *schema.Layout, name string) {
	file := g.textName()
	g.needText, g.needCodec = true, true
	g.p("func (t *%s) jsonCell() ([]byte, error) {", name)
	g.p("\tcodec, err := %sCodec(%q)\n\tif err != nil {\n\t\treturn nil, err\n\t}", file, l.Type.Name)
	g.p("\tmsg := make([]byte, t.SizeCell())\n\tif _, err := t.EncodeCell(msg); err != nil {\n\t\treturn nil, err\n\t}")
	g.p("\treturn codec.ToJSON(msg, 0)\n}\n")
	if !g.opts.Declared[name+".MarshalJSON"] {
		g.comment("", "MarshalJSON returns t as JSON, as docs/SCHEMA.md describes it.")
		g.p("func (t %s) MarshalJSON() ([]byte, error) { return t.jsonCell() }\n", name)
	}
	if !g.opts.Declared[name+".UnmarshalJSON"] {
		g.comment("", "UnmarshalJSON sets t to what the JSON text says.")
		g.p("func (t *%s) UnmarshalJSON(text []byte) error {", name)
		g.p("\tcodec, err := %sCodec(%q)\n\tif err != nil {\n\t\treturn err\n\t}", file, l.Type.Name)
		g.p("\tmsg, err := codec.FromJSON(text)\n\tif err != nil {\n\t\treturn err\n\t}\n\treturn t.DecodeCell(msg)\n}\n")
	}
}
