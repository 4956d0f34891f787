package schema_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/cell-runtime/cell/schema"
)

var update = flag.Bool("update", false, "compute testdata/schema.json anew from its inputs: names, files, texts, values, and the bytes of readings and invalid messages")

const goldenFile = "../testdata/schema.json"

// golden mirrors testdata/schema.json, against which every implementation is
// tested.
type golden struct {
	About           string           `json:"about"`
	Limits          map[string]int   `json:"limits"`
	Files           []goldenSchema   `json:"files"`
	Texts           []goldenText     `json:"texts"`
	InvalidTexts    []goldenNoText   `json:"invalid_texts"`
	Changes         []goldenDiff     `json:"changes"`
	Messages        []*goldenMessage `json:"messages"`
	Readings        []*goldenMessage `json:"readings"`
	InvalidMessages []*goldenMessage `json:"invalid_messages"`
}

type goldenSchema struct {
	File     string          `json:"file"`
	Types    []goldenType    `json:"types"`
	Services []goldenService `json:"services"`
}

// goldenType is a type's layout in place, and as a message.
type goldenType struct {
	Name    string               `json:"name"`
	Kind    string               `json:"kind"`
	Size    int                  `json:"size"`
	Align   int                  `json:"align"`
	Fixed   bool                 `json:"fixed"`
	Offsets []int                `json:"offsets,omitempty"` // of a struct's fields
	Value   int                  `json:"value,omitempty"`   // of a union's value
	Message *goldenMessageLayout `json:"message,omitempty"`
}

type goldenMessageLayout struct {
	Prefix  int   `json:"prefix"`
	Block   int   `json:"block"`
	Align   int   `json:"align"`
	Offsets []int `json:"offsets"`
}

type goldenService struct {
	Name    string         `json:"name"`
	Digest  string         `json:"digest"`
	Methods []goldenMethod `json:"methods"`
}

type goldenMethod struct {
	Name        string         `json:"name"`
	Mode        string         `json:"mode"`
	Idempotent  bool           `json:"idempotent"`
	Fingerprint string         `json:"fingerprint"`
	Blocks      map[string]int `json:"blocks"`
	Identity    string         `json:"identity"`
}

type goldenText struct {
	Name      string `json:"name"`
	Text      string `json:"text"`
	Canonical string `json:"canonical"`
}

type goldenNoText struct {
	Name   string `json:"name"`
	Text   string `json:"text"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	What   string `json:"what"` // for people: other implementations may use other words
}

type goldenDiff struct {
	Older   string         `json:"older"`
	Newer   string         `json:"newer"`
	Methods []goldenChange `json:"methods"`
}

type goldenChange struct {
	Service string   `json:"service"`
	Method  string   `json:"method"`
	Verdict string   `json:"verdict"`
	Old     string   `json:"old"`
	New     string   `json:"new"`
	Details []string `json:"details,omitempty"` // for people
}

type goldenMessage struct {
	Name    string          `json:"name"`
	File    string          `json:"file"`
	Type    string          `json:"type"`
	Minimum int             `json:"minimum"`
	Bytes   string          `json:"bytes"`
	Value   json.RawMessage `json:"value,omitempty"`
	Reason  string          `json:"reason,omitempty"`
}

// messageReasons are the sentinels by the names that the file uses.
var messageReasons = map[string]error{
	"ErrMessageShort": schema.ErrMessageShort, "ErrMessageBlock": schema.ErrMessageBlock,
	"ErrMessageReference": schema.ErrMessageReference, "ErrMessageOverlap": schema.ErrMessageOverlap,
}

func loadGolden(t testing.TB) (g golden) {
	t.Helper()
	text, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&g); err != nil {
		t.Fatalf("%s: %v", goldenFile, err)
	}
	return g
}

// TestGolden computes everything in the file that can be computed from the
// rest, and compares: what this package does today is what it did when the
// file was committed.
func TestGolden(t *testing.T) {
	was, now := loadGolden(t), loadGolden(t)
	now.compute(t)
	if !*update {
		if !reflect.DeepEqual(was, now) {
			t.Errorf("%s is not what the code computes: go test ./schema -run TestGolden -update, then look at the difference; what other implementations rely on must not change", goldenFile)
		}
		return
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(now); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(goldenFile, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (g *golden) compute(t *testing.T) {
	g.Limits = map[string]int{
		"version": schema.Version, "text": schema.MaxText, "name": schema.MaxName, "unit": schema.MaxUnit,
		"types": schema.MaxTypes, "services": schema.MaxServices, "methods": schema.MaxMethods,
		"fields": schema.MaxFields, "values": schema.MaxValues, "ancestors": schema.MaxAncestors,
		"depth": schema.MaxDepth, "block": schema.MaxBlock, "message": schema.MaxMessage,
	}
	for i := range g.Files {
		g.Files[i].compute(t)
	}
	for i := range g.Texts {
		c := &g.Texts[i]
		s, err := schema.Parse(c.Text)
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		c.Canonical = mustPrint(t, s)
	}
	for i := range g.InvalidTexts {
		c := &g.InvalidTexts[i]
		_, err := schema.Parse(c.Text)
		var where *schema.TextError
		if !errors.As(err, &where) {
			t.Fatalf("%s: accepted (%v)", c.Name, err)
		}
		c.Line, c.Column, c.What = where.Line, where.Column, where.What
	}
	for i := range g.Changes {
		g.Changes[i].compute(t)
	}
	for _, m := range g.Messages {
		msg, err := m.codec(t).FromJSON(m.Value)
		if err != nil {
			t.Fatalf("%s: %v", m.Name, err)
		}
		m.Minimum = m.codec(t).Layout().Size
		m.Bytes = hex.EncodeToString(msg)
	}
	for _, m := range g.Readings {
		text, err := m.codec(t).ToJSON(m.bytes(t), m.Minimum)
		if err != nil {
			t.Fatalf("%s: %v", m.Name, err)
		}
		m.Value = indented(t, text)
	}
}

// indented gives a value the form that it has in the file, so that it can be
// compared.
func indented(t *testing.T, text []byte) json.RawMessage {
	var b bytes.Buffer
	if err := json.Indent(&b, text, "   ", " "); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func loadSchema(t testing.TB, file string) *schema.Schema {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../testdata/schema", file))
	if err != nil {
		t.Fatal(err)
	}
	s, err := schema.Parse(string(text))
	if err != nil {
		t.Fatalf("%s:%v", file, err)
	}
	if got := mustPrint(t, s); got != string(text) {
		t.Errorf("%s is not canonical, it should be\n%s", file, got)
	}
	return s
}

func mustPrint(t testing.TB, s *schema.Schema) string {
	t.Helper()
	text, err := schema.Print(s)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (g *goldenSchema) compute(t *testing.T) {
	s := loadSchema(t, g.File)
	g.Types, g.Services = nil, nil
	for _, of := range s.Types {
		layout, err := schema.LayoutOf(of)
		if err != nil {
			t.Fatal(err)
		}
		it := goldenType{Name: of.Name, Kind: of.Kind.String(), Size: layout.Size, Align: layout.Align,
			Fixed: layout.Fixed, Offsets: nilIfEmpty(layout.Offsets), Value: layout.Value}
		if of.Kind == schema.Struct {
			root, err := schema.RootLayout(of)
			if err != nil {
				t.Fatal(err)
			}
			it.Message = &goldenMessageLayout{Prefix: root.Prefix, Block: root.Size, Align: root.Align, Offsets: root.Offsets}
		}
		g.Types = append(g.Types, it)
	}
	for _, service := range s.Services {
		digest := schema.Digest(service)
		it := goldenService{Name: service.Name, Digest: hex.EncodeToString(digest[:])}
		for i := range service.Methods {
			it.Methods = append(it.Methods, computeMethod(t, service, &service.Methods[i]))
		}
		g.Services = append(g.Services, it)
	}
}

func nilIfEmpty(list []int) []int {
	if len(list) == 0 {
		return nil
	}
	return list
}

func computeMethod(t *testing.T, service *schema.Service, m *schema.Method) goldenMethod {
	form, err := schema.Form(service, m)
	if err != nil {
		t.Fatal(err)
	}
	it := goldenMethod{Name: m.Name, Mode: m.Mode.String(), Idempotent: m.Idempotent,
		Fingerprint: schema.FormatFingerprint(form.Fingerprint), Identity: schema.Identity(service, m),
		Blocks: map[string]int{}}
	for s := range schema.SlotEvent + 1 {
		if m.Mode.Has(s) {
			it.Blocks[s.String()] = form.Length(s)
		}
	}
	return it
}

func (g *goldenDiff) compute(t *testing.T) {
	g.Methods = nil
	for _, c := range schema.Diff(loadSchema(t, g.Older), loadSchema(t, g.Newer)) {
		g.Methods = append(g.Methods, goldenChange{c.Service, c.Method, c.Verdict.String(),
			schema.FormatFingerprint(c.Old), schema.FormatFingerprint(c.New), c.Details})
	}
}

func (m *goldenMessage) codec(t *testing.T) *schema.Codec {
	t.Helper()
	c, err := schema.NewCodec(loadSchema(t, m.File).Type(m.Type))
	if err != nil {
		t.Fatalf("%s: %v", m.Name, err)
	}
	return c
}

func (m *goldenMessage) bytes(t *testing.T) []byte {
	t.Helper()
	b, err := hex.DecodeString(m.Bytes)
	if err != nil {
		t.Fatalf("%s: %v", m.Name, err)
	}
	return b
}

// TestGoldenMessages reads the bytes back, which TestGolden has not done.
func TestGoldenMessages(t *testing.T) {
	g := loadGolden(t)
	for _, m := range g.Messages {
		t.Run(m.Name, func(t *testing.T) {
			c := m.codec(t)
			v, err := c.Decode(m.bytes(t), m.Minimum)
			if err != nil {
				t.Fatal(err)
			}
			want, err := c.ParseJSON(m.Value)
			if err != nil || !reflect.DeepEqual(v, want) {
				t.Errorf("%v: decoded %s, want %s", err, v.AppendJSON(nil), m.Value)
			}
			if err := c.Check(m.bytes(t), m.Minimum); err != nil {
				t.Error(err)
			}
		})
	}
	for _, m := range g.Readings {
		t.Run(m.Name, func(t *testing.T) {
			if err := m.codec(t).Check(m.bytes(t), m.Minimum); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestGoldenInvalidMessages(t *testing.T) {
	for _, m := range loadGolden(t).InvalidMessages {
		t.Run(m.Name, func(t *testing.T) {
			want := messageReasons[m.Reason]
			if want == nil {
				t.Fatalf("no such reason: %q", m.Reason)
			}
			c := m.codec(t)
			if err := c.Check(m.bytes(t), m.Minimum); !errors.Is(err, want) || !strings.HasPrefix(err.Error(), m.Type) && !strings.Contains(err.Error(), ": ") {
				t.Errorf("Check says %v, want %s", err, m.Reason)
			}
			if _, err := c.Decode(m.bytes(t), m.Minimum); !errors.Is(err, want) {
				t.Errorf("Decode says %v, want %s", err, m.Reason)
			}
		})
	}
}
