package schema_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"testing"

	"github.com/cell-runtime/cell/schema"
	"github.com/cell-runtime/cell/schema/schematest"
)

// FuzzParse: no text makes the parser panic; what it accepts prints to a text
// that means the same and prints to itself.
func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("../testdata/schema/*.cell")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	for _, text := range []string{
		"cell 1", "cell 1\nstruct A {}", "cell 1\nunion U {\n\tA [3]?[]uint8 unit \"\"\n}",
		"cell 1\nservice S {\n\tcall A(Q, in Q, out Q) Q\n\t\twas 0123456789abcdef request 0 reply 0 in 0 out 0\n}",
		"cell 1\nstruct A {\n\tB B\n}\nstruct B {\n\tA []A\n}", "cell 1\nenum E int64 {\n\tA = -0x8000000000000000\n}",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := schema.Parse(text)
		if err != nil {
			var where *schema.TextError
			if !errors.As(err, &where) || where.Line < 1 || where.Column < 1 {
				t.Fatalf("an error without a place: %v", err)
			}
			return
		}
		canonical, err := schema.Print(s)
		if err != nil {
			t.Fatalf("accepted, but can't be printed: %v", err)
		}
		again, err := schema.Parse(canonical)
		if err != nil || !reflect.DeepEqual(s, again) {
			t.Fatalf("%v\n%q became\n%q", err, text, canonical)
		}
		if twice, _ := schema.Print(again); twice != canonical {
			t.Fatalf("%q printed again as\n%q", canonical, twice)
		}
	})
}

// FuzzSchema: random schemas keep their meaning through print and parse, and
// through their identity texts; values keep theirs through messages and JSON;
// and old and new forms of a method read each other.
func FuzzSchema(f *testing.F) {
	for seed := range uint64(200) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 0))
		s := schematest.Schema(r)
		text, err := schema.Print(s)
		if err != nil {
			t.Fatal(err)
		}
		again, err := schema.Parse(text)
		if err != nil || !reflect.DeepEqual(s, again) {
			t.Fatalf("%v: not the same schema any more:\n%s", err, text)
		}
		for i := range s.Services[0].Methods {
			checkIdentity(t, s.Services[0], &s.Services[0].Methods[i])
		}
		for _, of := range s.Types {
			if of.Kind == schema.Struct {
				checkValue(t, r, of)
			}
		}
		checkAncestors(t, r, s)
		checkUnrelated(t, r, s)
	})
}

// checkUnrelated: another random schema has the same names for other things.
// Whatever differs is told, and what is called additive can be read.
func checkUnrelated(t *testing.T, r *rand.Rand, s *schema.Schema) {
	other := schematest.Schema(r)
	for _, change := range schema.Diff(s, other) {
		switch change.Verdict {
		case schema.NewEndpoint, schema.Additive:
			if len(change.Details) == 0 || change.Old == change.New {
				t.Fatalf("no details: %v", change)
			}
		case schema.Same:
			if change.Old != change.New {
				t.Fatalf("%v", change)
			}
		}
		if change.Verdict != schema.Additive {
			continue
		}
		was, is := s.Services[0].Method(change.Method), other.Services[0].Method(change.Method)
		form, err := schema.Form(s.Services[0], was)
		if err != nil {
			t.Fatal(err)
		}
		for slot := range schema.SlotEvent + 1 {
			if was.Mode.Has(slot) && was.Message(slot).Name != "" {
				checkForms(t, r, was.Message(slot), is.Message(slot), form.Length(slot))
			}
		}
	}
}

// checkIdentity: an identity text is a description of the same method.
func checkIdentity(t *testing.T, service *schema.Service, m *schema.Method) {
	text := schema.Identity(service, m)
	alone, err := schema.Parse(text)
	if err != nil {
		t.Fatalf("%v in the identity text\n%s", err, text)
	}
	if got := schema.Compare(service, m, alone.Services[0], &alone.Services[0].Methods[0]); got.Verdict != schema.Same || got.New == 0 {
		t.Fatalf("%v\n%s", got, text)
	}
}

// checkValue: values survive messages and JSON, bit by bit.
func checkValue(t *testing.T, r *rand.Rand, of *schema.Type) {
	c, err := schema.NewCodec(of)
	if err != nil {
		t.Fatal(err)
	}
	v := schematest.Datum(r, of)
	msg, err := c.Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Check(msg, c.Layout().Size); err != nil {
		t.Fatalf("what was encoded is not well-formed: %v", err)
	}
	got, err := c.Decode(msg, c.Layout().Size)
	if err != nil || !reflect.DeepEqual(got, v) {
		t.Fatalf("%v: decoded %v\nencoded %v", err, got, v)
	}
	text := v.AppendJSON(nil)
	same, err := c.FromJSON(text)
	if err != nil || string(same) != string(msg) {
		t.Fatalf("%v: from JSON %s\n%x\nwant\n%x", err, text, same, msg)
	}
}

// checkAncestors: who knows the older form reads a message of the newer one as
// if it had no more fields, and the other way round the new fields are zero.
func checkAncestors(t *testing.T, r *rand.Rand, older *schema.Schema) {
	newer, changed := schematest.Append(r, older)
	if !changed {
		return
	}
	changes, err := schema.Inherit(older, newer)
	if err != nil {
		t.Fatal(err)
	}
	if err := newer.Validate(); err != nil {
		t.Fatalf("not valid after it has inherited: %v", err)
	}
	for _, change := range changes {
		if (change.Verdict == schema.Same) != (change.Old == change.New) || change.Verdict > schema.NewEndpoint {
			t.Fatalf("%v", change)
		}
		if change.Verdict != schema.Same && len(change.Details) == 0 {
			t.Fatalf("no details: %v", change)
		}
		if change.Verdict != schema.Additive {
			continue
		}
		was, is := older.Services[0].Method(change.Method), newer.Services[0].Method(change.Method)
		form := is.Ancestors[len(was.Ancestors)]
		if form.Fingerprint != change.Old {
			t.Fatalf("the youngest ancestor is %x, want %x", form.Fingerprint, change.Old)
		}
		for s := range schema.SlotEvent + 1 {
			if was.Mode.Has(s) && was.Message(s).Name != "" {
				checkForms(t, r, was.Message(s), is.Message(s), form.Length(s))
			}
		}
	}
}

// checkForms: messages of two forms of one struct, each read as the other.
func checkForms(t *testing.T, r *rand.Rand, was, is *schema.Type, length int) {
	oldCodec, err := schema.NewCodec(was)
	if err != nil {
		t.Fatal(err)
	}
	newCodec, err := schema.NewCodec(is)
	if err != nil {
		t.Fatal(err)
	}
	fields := func(v schema.Datum) string { return string(v.AppendJSON(nil)) }
	short := func(v schema.Datum) schema.Datum { v.Type, v.Items = was, v.Items[:len(was.Fields)]; return v }

	v := schematest.Datum(r, is)
	msg, err := newCodec.Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	got, err := oldCodec.Decode(msg, oldCodec.Layout().Size)
	if err != nil || fields(got) != fields(short(v)) {
		t.Fatalf("%v: the old form reads %s\nof %s", err, fields(got), fields(v))
	}

	v = schematest.Datum(r, was)
	if msg, err = oldCodec.Encode(v); err != nil {
		t.Fatal(err)
	}
	if got, err = newCodec.Decode(msg, length); err != nil || fields(short(got)) != fields(v) {
		t.Fatalf("%v: the new form reads %s\nof %s", err, fields(got), fields(v))
	}
	for i, item := range got.Items[len(was.Fields):] {
		if zero := (schema.Datum{Type: item.Type}); !reflect.DeepEqual(item, zero) {
			t.Fatalf("%s.%s is %v, but nobody has sent it", is.Name, is.Fields[len(was.Fields)+i].Name, item)
		}
	}
}

// FuzzDecode: no bytes make the codec panic, allocate out of proportion, or
// disagree with itself.
func FuzzDecode(f *testing.F) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		of := message(r)
		c, err := schema.NewCodec(of)
		if err != nil {
			f.Fatal(err)
		}
		msg, err := c.Encode(schematest.Datum(r, of))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seed, msg, uint16(c.Layout().Size))
		f.Add(seed, []byte{}, uint16(0))
	}
	f.Fuzz(func(t *testing.T, seed uint64, msg []byte, minimum uint16) {
		c, err := schema.NewCodec(message(rand.New(rand.NewPCG(seed, 1))))
		if err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		v, err := c.Decode(msg, int(minimum))
		runtime.ReadMemStats(&after)
		// A value takes 56 bytes and stands for at least one of the message,
		// or of the root's block, which need not be there. Optionals and
		// unions have two for each.
		most := uint64(len(msg)+c.Layout().Size+1)*2*56*2 + 1<<20
		if got := after.TotalAlloc - before.TotalAlloc; got > most {
			t.Fatalf("%d bytes allocated for a message of %d, want at most %d", got, len(msg), most)
		}
		if check := c.Check(msg, int(minimum)); (check == nil) != (err == nil) || err != nil && check.Error() != err.Error() {
			t.Fatalf("Decode says %v, Check says %v", err, check)
		}
		if err != nil {
			return
		}
		canonical, err := c.Encode(v)
		if err != nil {
			t.Fatalf("what was decoded can't be encoded: %v", err)
		}
		if again, err := c.Decode(canonical, c.Layout().Size); err != nil || !reflect.DeepEqual(again, v) {
			t.Fatalf("%v: %v became %v", err, v, again)
		}
	})
}

// FuzzJSON: no text makes the JSON parser panic, and what it accepts can be
// encoded.
func FuzzJSON(f *testing.F) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		f.Add(seed, string(schematest.Datum(r, message(r)).AppendJSON(nil)))
	}
	f.Fuzz(func(t *testing.T, seed uint64, text string) {
		c, err := schema.NewCodec(message(rand.New(rand.NewPCG(seed, 1))))
		if err != nil {
			t.Fatal(err)
		}
		v, err := c.ParseJSON([]byte(text))
		if err != nil {
			if !errors.Is(err, schema.ErrValue) && !errors.Is(err, schema.ErrMessageLimit) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		msg, err := c.Encode(v)
		if err != nil {
			t.Fatalf("%s was accepted, but %v", text, err)
		}
		if _, err := c.Decode(msg, c.Layout().Size); err != nil {
			t.Fatal(err)
		}
	})
}

// message returns a random struct.
func message(r *rand.Rand) *schema.Type {
	s := schematest.Schema(r)
	for {
		if t := s.Types[r.IntN(len(s.Types))]; t.Kind == schema.Struct {
			return t
		}
	}
}
