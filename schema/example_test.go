package schema_test

import (
	"fmt"

	"github.com/cell-runtime/cell/schema"
)

const thermometer = `cell 1

struct Reading {
	At int64 unit "ns since 1970-01-01 UTC"
	Celsius float32 unit "°C"
	Place string
}

service Thermometer {
	topic Readings(Reading)
}
`

func ExampleParse() {
	_, err := schema.Parse("cell 1\n\nstruct Reading {\n\tByPlace map[string]float32\n}\n")
	fmt.Println("thermometer.cell:" + err.Error())
	// Output:
	// thermometer.cell:4:10: there are no maps: use a slice of structs with a key and a value, sorted by key if it is searched
}

func ExampleRootLayout() {
	s, err := schema.Parse(thermometer)
	if err != nil {
		fmt.Println(err)
		return
	}
	layout, err := schema.RootLayout(s.Type("Reading"))
	if err != nil {
		fmt.Println(err)
		return
	}
	for i, f := range layout.Type.Fields {
		fmt.Printf("%2d %s\n", layout.Offsets[i], f.Name)
	}
	fmt.Println("block length", layout.Size)
	// Output:
	//  8 At
	// 16 Celsius
	// 20 Place
	// block length 32
}

func ExampleInherit() {
	older, err := schema.Parse(thermometer)
	if err != nil {
		fmt.Println(err)
		return
	}
	newer, err := schema.Parse(`cell 1

struct Reading {
	At int64 unit "ns since 1970-01-01 UTC"
	Celsius float32 unit "°C"
	Place string
	Battery uint8 unit "%"
}

service Thermometer {
	topic Readings(Reading)
}
`)
	if err != nil {
		fmt.Println(err)
		return
	}
	changes, err := schema.Inherit(older, newer)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(changes[0].Verdict, changes[0].Details)
	for _, a := range newer.Services[0].Methods[0].Ancestors {
		fmt.Println("accepts", schema.FormatFingerprint(a.Fingerprint), "with", a.Event, "bytes")
	}
	// Output:
	// additive [Reading.Battery: uint8 was appended]
	// accepts 9f698c6f01c436ac with 32 bytes
}

func ExampleCodec() {
	s, err := schema.Parse(thermometer)
	if err != nil {
		fmt.Println(err)
		return
	}
	codec, err := schema.NewCodec(s.Type("Reading"))
	if err != nil {
		fmt.Println(err)
		return
	}
	msg, err := codec.FromJSON([]byte(`{"At": "1700000000000000001", "Celsius": 21.5, "Place": "roof"}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	text, err := codec.ToJSON(msg, codec.Layout().Size)
	fmt.Println(len(msg), string(text), err)

	_, err = codec.ToJSON(msg[:35], codec.Layout().Size)
	fmt.Println(err)
	// Output:
	// 36 {"At":1700000000000000001,"Celsius":21.5,"Place":"roof"} <nil>
	// Place: string, bytes or slice outside the message: 4 bytes at 32, of 35 bytes
}
