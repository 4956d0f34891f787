package schema

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// ledger uses everything that the language has.
const ledger = `// Keeps accounts.
//
// Second paragraph:
// 	indented
cell 1

// An amount of money.
struct Money {
	Units int64 unit "1e-8 EUR"
}

// Which way.
enum Side uint8 {
	// In.
	Credit = 0
	Debit = 1
}

enum Wide uint64 {
	Top = 18446744073709551615
}

enum Deep int64 {
	Low = -9223372036854775808
	High = 9223372036854775807
}

union Source {
	Card Card
	Note string
	Nothing Nothing
}

struct Nothing {}

struct Card {
	Number [16]uint8
	Names []string
}

struct Entry {
	Account uint64
	Amount Money
	Side Side
	Source Source
	// Missing when it was never cleared.
	Cleared ?int64 unit "ns since 1970-01-01 UTC"
	Grid [2][3]float32
	Lists [][]?Money
	Body bytes
	Wide Wide
	Deep Deep
}

struct Sum {
	Total Money
}

// The ledger itself.
service Ledger {
	// Post adds an entry.
	call Post(Entry) Sum
		was 0123456789abcdef request 8 reply 0
		was 00000000000000ff request 16 reply 8
	idempotent call Get(Nothing) Sum
	call Ping()
	oneway Note(Entry)
	call List(Nothing, out Entry) Sum
	call Load(in Entry) Sum
	call Sync(Nothing, in Entry, out Sum)
	topic Posted(Entry)
	topic Beat()
}

service Other {
	idempotent oneway Touch()
}
`

func TestParseCanonical(t *testing.T) {
	s, err := Parse(ledger)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Print(s)
	if err != nil {
		t.Fatal(err)
	}
	if again != ledger {
		t.Errorf("printed otherwise than it was written:\n%s", again)
	}
	twice, err := Parse(again)
	if err != nil || !reflect.DeepEqual(s, twice) {
		t.Errorf("parsing what was printed gives another schema (%v)", err)
	}
	if s.Doc != "Keeps accounts.\n\nSecond paragraph:\n\tindented" {
		t.Errorf("documentation %q", s.Doc)
	}
}

// What people write by hand differs in spaces, order and comments.
func TestParseByHand(t *testing.T) {
	for _, c := range []struct{ name, text, canonical string }{
		{"types behind services, spaces, carriage returns",
			"\r\n\r\ncell   1\r\nservice S{\r\n  call A ( Q ) R\r\n}\r\nstruct Q{\n}\nstruct R { \n\n  X  uint8  \n\n}",
			"cell 1\n\nstruct Q {}\n\nstruct R {\n\tX uint8\n}\n\nservice S {\n\tcall A(Q) R\n}\n"},
		{"comments at the ends of lines",
			"// a\ncell 1 // b\n// c\nstruct Q { // d\n\t// e\n\tX uint8 // f\n\tY uint8 unit \"m\" // g\n}\nstruct E {} // h\nenum N int8 { // i\n\tA = -1 // j\n}\n",
			"// a\n// b\ncell 1\n\n// c\n// d\nstruct Q {\n\t// e\n\t// f\n\tX uint8\n\t// g\n\tY uint8 unit \"m\"\n}\n\n// h\nstruct E {}\n\n// i\nenum N int8 {\n\t// j\n\tA = -1\n}\n"},
		{"comments apart from what they describe",
			"// licence\n\n\n// what it is\ncell 1\n// far\n\nstruct Q {}",
			"// licence\n//\n// what it is\ncell 1\n\n// far\nstruct Q {}\n"},
		{"numbers in other bases",
			"cell 1\nenum N uint16 {\n A = 0x10\n B = 0b11\n}",
			"cell 1\n\nenum N uint16 {\n\tA = 16\n\tB = 3\n}\n"},
		{"no newline at the end", "cell 1", "cell 1\n"},
		{"words of the language as names of fields and methods",
			"cell 1\nstruct Q {\n\tunit uint8\n\tstruct uint8\n\tin uint8\n\twas uint8\n}\nservice S {\n\tcall call()\n\tcall service()\n}",
			"cell 1\n\nstruct Q {\n\tunit uint8\n\tstruct uint8\n\tin uint8\n\twas uint8\n}\n\nservice S {\n\tcall call()\n\tcall service()\n}\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := Parse(c.text)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Print(s)
			if err != nil || got != c.canonical {
				t.Errorf("%v\n%s\nwant\n%s", err, got, c.canonical)
			}
		})
	}
}

// in puts lines into a struct's body, which then begins in line 3.
func in(lines string) string { return "cell 1\nstruct S {\n" + lines + "\n}\n" }

// at puts lines into a service's body, which then begins in line 5.
func at(lines string) string {
	return "cell 1\nstruct Q {}\nstruct R {}\nservice S {\n" + lines + "\n}\n"
}

// manyTypes are as many as there may be.
func manyTypes() string {
	var b strings.Builder
	for i := range MaxTypes {
		fmt.Fprintf(&b, "\nstruct T%d {}", i)
	}
	return b.String()
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ name, text, says string }{
		{"empty", "", "1:1: found the end of the text, want the line: cell 1"},
		{"no version", "struct S {}", "1:1: found \"struct\", want the line: cell 1"},
		{"another version", "cell 2", "1:1: version 2 of the language"},
		{"too long", "cell 1" + strings.Repeat("\n", MaxText), "1:1: the text has"},
		{"not UTF-8", "cell 1\nstruct \xff", "2:8: byte 0xff is not UTF-8"},
		{"byte order mark", "\uFEFFcell 1", "1:1: a byte order mark"},
		{"control character", "cell 1\x00", "1:7: a control character (U+0000)"},
		{"control character in a comment", "// a\x1b\ncell 1", "1:5: a control character (U+001B)"},
		{"carriage return alone", "cell 1\rstruct", "1:7: a control character (U+000D)"},
		{"block comment", "/* a */\ncell 1", "1:1: unexpected \"/*\": comments begin with //"},
		{"comment at the end", "cell 1\n// what", "2:8: the comment before the end describes nothing"},
		{"comment at the end of a struct", in("A uint8\n// what"), "5:1: the comment before '}' describes nothing"},
		{"body not closed", "cell 1\nstruct S {\n", "3:1: found the end of the text, want '}'"},
		{"brace on the next line", "cell 1\nstruct S\n{\n}", "2:9: found the end of the line, want '{' on the same line"},
		{"message of proto", "cell 1\nmessage S {}", "2:1: found \"message\", want struct, enum, union or service: a message is a struct"},
		{"method outside", "cell 1\ncall A()", "methods stand within a service"},
		{"field of proto", in("uint32 a = 1;"), "3:10: found '=', want the end of the line: fields have no numbers"},
		{"field with a number", in("A uint32 = 1"), "3:10: found '=', want the end of the line: fields have no numbers"},
		{"colon", in("A: uint32"), "3:2: unexpected \":\": a field is written NAME TYPE"},
		{"semicolon", in("A uint32;"), "3:9: unexpected \";\""},
		{"pointer", in("A *uint32"), "3:3: unexpected \"*\": a value that may be missing has the type ?T"},
		{"map", in("A map[string]uint8"), "3:3: there are no maps: use a slice of structs"},
		{"generic map", in("A Map<string, uint8>"), "3:6: unexpected \"<\": there are no generic types: a list is []T, and instead of a map"},
		{"unsized integer", in("A int"), "3:3: int is not a type: its size must be the same everywhere: write int32 or int64"},
		{"unsized unsigned integer", in("A uint"), "write uint32 or uint64"},
		{"double", in("A double"), "write float64"},
		{"time", in("A Time"), "write int64 with a unit"},
		{"unknown type", in("A Thing"), "3:3: Thing is not declared: add struct, enum or union Thing"},
		{"service as a type", "cell 1\nstruct S {\nA T\n}\nservice T {\ncall A()\n}", "3:3: T is a service (line 5)"},
		{"struct in a field", in("A struct { B uint8 }"), "3:3: found \"struct\", want a type: declare structs"},
		{"brackets behind", in("A uint8[4]"), "3:8: found '[', want the end of the line: brackets and question mark stand before"},
		{"question mark behind", in("A uint8?"), "3:8: found '?', want the end of the line: brackets and question mark stand before"},
		{"array of none", in("A [0]uint8"), "3:4: 0 is not the length of an array"},
		{"array without end", in("A [4 uint8"), "3:6: found \"uint8\", want ']'"},
		{"too many brackets", in("A " + strings.Repeat("[]", 1000) + "uint8"), "more than 16 types"},
		{"bytes as a slice", in("A []uint8"), "3:1: S.A: []uint8 is written bytes"},
		{"optional optional", in("A ??uint8"), "3:1: S.A: an optional of an optional"},
		{"optional union", "cell 1\nunion U {\nA uint8\n}\nstruct S {\nA ?U\n}", "6:1: S.A: an optional union"},
		{"optional alternative", "cell 1\nunion U {\nA ?uint8\n}", "3:1: U.A: an optional alternative"},
		{"union of none", "cell 1\nunion U {}", "2:7: U: a union needs at least one alternative"},
		{"unit without quotes", in("A uint8 unit ns"), "3:14: found \"ns\", want the unit in quotes"},
		{"unit not closed", in("A uint8 unit \"ns"), "3:14: the quote is not closed"},
		{"unit empty", in("A uint8 unit \"\""), "3:14: the unit is empty"},
		{"unit too long", in("A uint8 unit \"" + strings.Repeat("m", MaxUnit+1) + "\""), "3:14: the unit has 65 bytes"},
		{"unit with a backslash", in(`A uint8 unit "a\b"`), "3:1: S.A: the unit"},
		{"name too long", in(strings.Repeat("A", MaxName+1) + " uint8"), "the name AAAAAAAAAAAAAAAAAAAA… has 65 bytes"},
		{"number too long", in("A [" + strings.Repeat("1", 100) + "]uint8"), "3:4: the number 11111111111111111111… has 100 digits"},
		{"name with an umlaut", in("Gr\u00f6\u00dfe uint8"), "3:3: unexpected 'ö': names are made of ASCII"},
		{"name twice", in("A uint8\nA uint8"), "4:1: S.A: the name A occurs twice"},
		{"names alike", in("BidPrice uint8\nbid_price uint8"), "4:1: S.bid_price: the names BidPrice and bid_price differ in case and underscores alone"},
		{"declared twice", "cell 1\nstruct A {}\nenum A uint8 {\nX = 1\n}", "3:6: A is declared in line 2 already"},
		{"a word as a type's name", "cell 1\nstruct uint8 {}", "2:8: struct uint8: \"uint8\" is a word of the language"},
		{"recursion", "cell 1\nstruct A {\nB []B\n}\nunion B {\nA A\n}", "a type can't contain itself"},
		{"enum without integer", "cell 1\nenum E {\nA = 1\n}", "2:8: found \"{\", want the integer below the enum"},
		{"enum of floats", "cell 1\nenum E float32 {\nA = 1\n}", "2:8: \"float32\" can't be below an enum"},
		{"enum without values", "cell 1\nenum E uint8 {}", "2:6: E: an enum needs at least one value"},
		{"value without a number", "cell 1\nenum E uint8 {\nA\n}", "3:2: found the end of the line, want '='"},
		{"value too large", "cell 1\nenum E uint8 {\nA = 256\n}", "3:1: E.A: 256 does not fit into uint8"},
		{"value negative", "cell 1\nenum E uint32 {\nA = -1\n}", "3:1: E.A: -1 does not fit into uint32"},
		{"value beyond 64 bits", "cell 1\nenum E int64 {\nA = 9223372036854775808\n}", "3:5: 9223372036854775808 is not a number that fits"},
		{"number twice", "cell 1\nenum E uint64 {\nA = 18446744073709551615\nB = 0xffffffffffffffff\n}", "4:1: E.B: A has the number 18446744073709551615 already"},
		{"service without methods", "cell 1\nservice S {}", "2:9: S: a service needs at least one method"},
		{"unknown method word", at("rpc A(Q) R"), "5:1: found \"rpc\", want a method: call"},
		{"scalar message", at("call A(uint8) R"), "5:8: messages are structs"},
		{"enum as a message", "cell 1\nenum E uint8 {\nA = 1\n}\nservice S {\ncall A(E)\n}", "6:6: S.A: its request must be a struct: wrap E"},
		{"two requests", at("call A(Q, R)"), "5:11: a second message"},
		{"order of streams", at("call A(out Q, in R)"), "5:15: the order is: request, in, out"},
		{"request behind a stream", at("call A(in Q, R)"), "5:14: the order is"},
		{"stream of proto", at("call A(Q, stream R)"), "5:11: streams are written"},
		{"arrow", at("call A(Q) -> R"), "5:11: the reply directly follows"},
		{"reply in parentheses", at("call A(Q) (R)"), "5:11: the reply is written without parentheses"},
		{"reply of one-way", at("oneway A(Q) R"), "5:13: a one-way method has no reply"},
		{"streams of one-way", at("oneway A(Q, in R)"), "only calls have streams"},
		{"reply of a topic", at("topic A(Q) R"), "a topic method has no reply"},
		{"idempotent topic", at("idempotent topic A(Q)"), "5:18: S.A: a topic is not called"},
		{"idempotent behind", at("call A(Q) idempotent"), "'idempotent' stands before"},
		{"method twice", at("call A()\ncall a()"), "6:6: S.a: the names A and a differ"},
		{"ancestor of nothing", at("was 0123456789abcdef request 0 reply 0"), "5:1: a line of an ancestor"},
		{"ancestor's fingerprint", at("call A()\nwas 123 request 0 reply 0"), "6:5: found \"123\", want a fingerprint"},
		{"ancestor without a length", at("call A()\nwas 0123456789abcdef request 0"), "6:31: found the end of the line, want 'reply'"},
		{"ancestor longer than today", at("call A()\nwas 0123456789abcdef request 1 reply 0"), "5:6: S.A: ancestor 0123456789abcdef: its request has 1 bytes, today's 0"},
		{"ancestor twice", at("call A()\nwas 0123456789abcdef request 0 reply 0\nwas 0123456789abcdef request 0 reply 0"), "listed once"},
		{"ancestor zero", at("call A()\nwas 0000000000000000 request 0 reply 0"), "a fingerprint is not 0"},
		{"too many fields", in("F uint8" + strings.Repeat("\nF uint8", MaxFields)), "259:1: more than 256 fields"},
		{"too many values", "cell 1\nenum E uint8 {" + strings.Repeat("\nV = 1", MaxValues+1), "4099:1: more than 4096 values"},
		{"too many types", "cell 1\nstruct S {}" + manyTypes(), "4098:8: more than 4096 types"},
		{"too large", in("A [16777216]uint8\nB uint8"), "2:8: S: it takes more than 16777216 bytes"},
		{"too large array of arrays", in("A [65536][65536]uint8"), "3:1: S.A: an array of 65536 elements of 65536 bytes"},
		{"slice of an empty struct", in("A []E") + "struct E {}", "3:1: S.A: slice E has no fields"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse(c.text)
			var where *TextError
			if !errors.As(err, &where) || !errors.Is(err, ErrSyntax) && !errors.Is(err, ErrInvalid) {
				t.Fatalf("got %v, want a TextError", err)
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("got  %v\nwant %s", err, c.says)
			}
		})
	}
}
