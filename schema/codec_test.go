package schema

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

const shapes = `cell 1
enum E int16 {
	A = 1
	B = -2
}
union U {
	N uint8
	S string
}
struct Inner {
	X uint8
}
struct M {
	I8 int8
	U64 uint64
	F32 float32
	F64 float64
	Flag bool
	Text string
	Body bytes
	E E
	U U
	Opt ?uint32
	Pair [2]uint16
	List []Inner
}
`

func codecOf(t testing.TB, text, name string) *Codec {
	t.Helper()
	c, err := NewCodec(parse(t, text).Type(name))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestJSON(t *testing.T) {
	c := codecOf(t, shapes, "M")
	const zero = `{"I8":0,"U64":0,"F32":0,"F64":0,"Flag":false,"Text":"","Body":"","E":0,"U":null,"Opt":null,"Pair":[0,0],"List":[]}`
	with := func(name, value string) string {
		var m map[string]json.RawMessage
		if err := json.Unmarshal([]byte(zero), &m); err != nil {
			t.Fatal(err)
		}
		was := `"` + name + `":` + string(m[name])
		return strings.Replace(zero, was, `"`+name+`":`+value, 1)
	}
	for _, x := range []struct{ name, text, want string }{
		{"nothing", `{}`, zero},
		{"null", `null`, zero},
		{"every field null", `{"I8":null,"U64":null,"F32":null,"F64":null,"Flag":null,"Text":null,"Body":null,"E":null,"U":null,"Opt":null,"Pair":null,"List":null}`, zero},
		{"in another order", `{"List":[],"I8":0}`, zero},
		{"greatest uint64 as a number", `{"U64":18446744073709551615}`, with("U64", "18446744073709551615")},
		{"greatest uint64 as a string", `{"U64":"18446744073709551615"}`, with("U64", "18446744073709551615")},
		{"beyond 53 bits", `{"U64":9007199254740993}`, with("U64", "9007199254740993")},
		{"negative", `{"I8":-128}`, with("I8", "-128")},
		{"float of 32 bits", `{"F32":0.1}`, with("F32", "0.1")},
		{"float in exponential form", `{"F64":1E+30}`, with("F64", "1e+30")},
		{"negative zero", `{"F64":-0}`, with("F64", "-0")},
		{"no number", `{"F64":"NaN"}`, with("F64", `"NaN"`)},
		{"infinite", `{"F32":"-Infinity"}`, with("F32", `"-Infinity"`)},
		{"enum by name", `{"E":"B"}`, with("E", `"B"`)},
		{"enum by number", `{"E":-2}`, with("E", `"B"`)},
		{"enum without a name", `{"E":77}`, with("E", `77`)},
		{"text", `{"Text":"a\u00e4\n\ud83d\ude00\u0000"}`, with("Text", `"aä\n😀\u0000"`)},
		{"bytes", `{"Body":"AP8="}`, with("Body", `"AP8="`)},
		{"union", `{"U":{"S":"x"}}`, with("U", `{"S":"x"}`)},
		{"union with others null", `{"U":{"N":null,"S":"x"}}`, with("U", `{"S":"x"}`)},
		{"union with all null", `{"U":{"N":null,"S":null}}`, zero},
		{"union with one null", `{"U":{"S":null}}`, with("U", `{"S":""}`)},
		{"optional zero", `{"Opt":0}`, with("Opt", "0")},
		{"list", `{"List":[{"X":1},{},null]}`, with("List", `[{"X":1},{"X":0},{"X":0}]`)},
	} {
		t.Run(x.name, func(t *testing.T) {
			msg, err := c.FromJSON([]byte(x.text))
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.ToJSON(msg, c.Layout().Size)
			if err != nil || string(got) != x.want {
				t.Errorf("%v\n%s\nwant\n%s", err, got, x.want)
			}
		})
	}
}

func TestJSONRefuses(t *testing.T) {
	c := codecOf(t, shapes, "M")
	for _, x := range []struct{ name, text, says string }{
		{"nothing at all", ``, "ends too early"},
		{"cut off", `{"I8":`, "ends too early"},
		{"no JSON", `{"I8" 1}`, "no JSON"},
		{"more behind", `{} {}`, "something follows"},
		{"list for a struct", `[]`, "[, want an object with the fields of M"},
		{"unknown field", `{"Foo":1}`, `M has no field "Foo"`},
		{"field in small letters", `{"text":""}`, `M has no field "text", but Text`},
		{"field twice", `{"I8":1,"I8":1}`, "I8: it is there twice"},
		{"too large", `{"I8":128}`, "I8: 128 does not fit into int8"},
		{"negative for unsigned", `{"U64":-1}`, `U64: "-1" is not an integer in decimal digits`},
		{"fraction for an integer", `{"I8":1.5}`, `I8: "1.5" is not an integer`},
		{"exponent for an integer", `{"I8":1e1}`, `I8: "1e1" is not an integer`},
		{"bool for an integer", `{"I8":true}`, "I8: true, want an integer"},
		{"number for a bool", `{"Flag":1}`, "Flag: 1, want true or false"},
		{"number for a text", `{"Text":1}`, "Text: 1, want a string"},
		{"float beyond 32 bits", `{"F32":1e39}`, "F32: 1e39 does not fit into float32"},
		{"float as a string", `{"F64":"1"}`, `F64: "1", want a number, "NaN"`},
		{"no base64", `{"Body":"*"}`, `Body: "*" is not base64`},
		{"unknown value", `{"E":"C"}`, `E: E has no value "C"`},
		{"enum too large", `{"E":32768}`, "E: 32768 does not fit into int16"},
		{"unknown alternative", `{"U":{"X":1}}`, `U: U has no field "X"`},
		{"two alternatives", `{"U":{"N":1,"S":""}}`, "U.S: it is the second alternative"},
		{"alternative by name alone", `{"U":"N"}`, `U: "N", want null, or an object with one alternative of U`},
		{"array too short", `{"Pair":[1]}`, "Pair: 1 elements for an array of 2"},
		{"array too long", `{"Pair":[1,2,3]}`, "Pair: 3 elements for an array of 2"},
		{"deep within", `{"List":[{"X":1},{"X":256}]}`, "List[1].X: 256 does not fit into uint8"},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, err := c.FromJSON([]byte(x.text))
			if !errors.Is(err, ErrValue) || !strings.Contains(err.Error(), x.says) {
				t.Errorf("got %v, want ErrValue with %s", err, x.says)
			}
		})
	}
}

// set changes the field of that name.
func set(v Datum, name string, to Datum) Datum {
	v.Items = append([]Datum(nil), v.Items...)
	for i, f := range v.Type.Fields {
		if f.Name == name {
			v.Items[i] = to
		}
	}
	return v
}

func TestEncodeRefuses(t *testing.T) {
	c := codecOf(t, shapes, "M")
	zero, err := c.ParseJSON([]byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		name string
		v    Datum
		says string
	}{
		{"no value at all", Datum{}, "0 fields for the 12 of M"},
		{"signed out of range", set(zero, "I8", Datum{Bits: 128}), "I8: the bits 0x80 are no int8"},
		{"bool of two", set(zero, "Flag", Datum{Bits: 2}), "Flag: the bits 0x2 are no bool"},
		{"float of more than 32 bits", set(zero, "F32", Datum{Bits: 1 << 32}), "no float32"},
		{"enum out of range", set(zero, "E", Datum{Bits: 1 << 15}), "E: the bits 0x8000 are no int16"},
		{"unknown alternative", set(zero, "U", Datum{Bits: 3, Items: make([]Datum, 1)}), "U: U has 2 alternatives, there is no number 3"},
		{"alternative without value", set(zero, "U", Datum{Bits: 1}), "0 values in the union"},
		{"value without alternative", set(zero, "U", Datum{Items: make([]Datum, 1)}), "1 values in the union"},
		{"two values in an optional", set(zero, "Opt", Datum{Items: make([]Datum, 2)}), "2 values in an optional"},
		{"array too short", set(zero, "Pair", Datum{}), "0 elements for an array of 2"},
		{"element without fields", set(zero, "List", Datum{Items: make([]Datum, 1)}), "List[0]: 0 fields for the 1 of Inner"},
	} {
		t.Run(x.name, func(t *testing.T) {
			if _, err := c.Encode(x.v); !errors.Is(err, ErrValue) || !strings.Contains(err.Error(), x.says) {
				t.Errorf("got %v, want ErrValue with %s", err, x.says)
			}
		})
	}
}

// A message may be short while what it stands for is long.
func TestCodecLimit(t *testing.T) {
	c := codecOf(t, "cell 1\nstruct M {\n\tA [1000]uint8\n\tL []Empty\n}\nstruct Empty {\n\tB [8]uint8\n}\n", "M")
	c.Limit = 2000
	if _, err := c.Decode(nil, 0); err != nil {
		t.Errorf("1002 values: %v", err)
	}
	c.Limit = 1001
	if _, err := c.Decode(nil, 0); !errors.Is(err, ErrMessageLimit) {
		t.Errorf("values that nobody has sent: %v", err)
	}
	if _, err := c.ParseJSON([]byte(`{}`)); !errors.Is(err, ErrMessageLimit) {
		t.Errorf("values that the JSON text does not have: %v", err)
	}
	c.Limit = 1100
	if _, err := c.ParseJSON([]byte(`{"L":[` + strings.Repeat("{},", 20) + `{}]}`)); !errors.Is(err, ErrMessageLimit) {
		t.Errorf("elements: %v", err)
	}
	if err := c.Check(make([]byte, MaxMessage+1), 0); !errors.Is(err, ErrMessageLimit) {
		t.Errorf("a message above 1 GiB: %v", err)
	}
}

func TestDatum(t *testing.T) {
	c := codecOf(t, shapes, "M")
	v, err := c.ParseJSON([]byte(`{"I8":-3,"F32":0.5,"F64":0.25,"E":"B","U":{"S":"x"},"Pair":[1,2]}`))
	if err != nil {
		t.Fatal(err)
	}
	get := func(name string) Datum {
		f, ok := v.Field(name)
		if !ok {
			t.Fatalf("no field %s", name)
		}
		return f
	}
	if get("I8").Int() != -3 || get("F32").Float() != 0.5 || get("F64").Float() != 0.25 || get("E").Name() != "B" {
		t.Errorf("%v", v)
	}
	if name, value, ok := get("U").Chosen(); name != "S" || value.Text != "x" || !ok {
		t.Errorf("chosen %s %v %v", name, value, ok)
	}
	if _, ok := v.Field("Foo"); ok {
		t.Error("there is a field Foo")
	}
	if _, _, ok := get("E").Chosen(); ok {
		t.Error("an enum has alternatives")
	}
	if text, err := json.Marshal(map[string]Datum{"e": get("E"), "none": {}}); err != nil || string(text) != `{"e":"B","none":null}` {
		t.Errorf("%s, %v", text, err)
	}
}

// Checking costs no more than a few steps for each byte, however the parts
// refer to each other.
func TestCheckEndsSoon(t *testing.T) {
	// Sixteen levels of slices, each element of which is the whole rest.
	text := "cell 1\nstruct M {\n\tL " + strings.Repeat("[]", 15) + "uint32\n}\n"
	c := codecOf(t, text, "M")
	msg := make([]byte, 1<<16)
	msg[0] = 12
	for i := 4; i+8 <= len(msg); i += 8 {
		msg[i], msg[i+5] = 12, 1 // 256 references at 12, and there the same
	}
	if err := c.Check(msg, 12); !errors.Is(err, ErrMessageOverlap) {
		t.Errorf("got %v, want ErrMessageOverlap", err)
	}
}
