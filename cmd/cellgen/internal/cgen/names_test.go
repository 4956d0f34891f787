package cgen

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cell-runtime/cell/schema"
)

// Fields may be called as the words of C and C++, their macros and the types of
// this very header: they get an underscore there, and the layout stays.
func TestFieldsThatAreWordsOfC(t *testing.T) {
	var text strings.Builder
	text.WriteString("cell 1\n\nstruct Point {\n\tX uint8\n}\n\nunion Way {\n\tclass Point\n\tUnion uint16\n\tway_t_ uint8\n\ttag uint8\n}\n\n")
	fields := []string{"uint8_t", "int_fast16_t", "sample_point_t", "sample_words_0_t", "present", "value", "as", "tag", "I", "NULL", "EOF"}
	for word := range words {
		fields = append(fields, word)
	}
	slices.Sort(fields)
	service, last := "service Things {\n", ""
	for i := 0; i < len(fields); i += 200 {
		name := "Words" + string(rune('A'+i/200))
		last += "struct " + name + " {\n\tCount uint64\n"
		for _, f := range fields[i:min(i+200, len(fields))] {
			last += "\t" + f + " uint8\n"
		}
		last += "\tWay Way\n\tPlace ?Point\n}\n\n"
		service += "\tcall Get" + name + "(" + name + ") " + name + "\n"
	}
	header, err := generate(t, text.String()+last+service+"}\n")
	if err != nil {
		t.Fatal(err)
	}
	compile(t, header, []string{"things_get_words_a"}, "sizeof(((sample_words_a_t *)0)->class_)", "offsetof(sample_words_a_t, int_)",
		"sizeof(((sample_way_t *)0)->as.union_)", "sizeof(((sample_words_a_t *)0)->present)")
}

// The greatest and least numbers of each integer are written so that C has them.
func TestNumbersOfEnums(t *testing.T) {
	header, err := generate(t, `cell 1

enum Low int64 {
	Least = -9223372036854775808
	Next = -9223372036854775807
	Most = 9223372036854775807
}

enum High uint64 {
	Zero = 0
	Half = 9223372036854775808
	Most = 18446744073709551615
}

enum Small int8 {
	Least = -128
	Most = 127
}

enum Word uint32 {
	Most = 4294967295
}

enum Int int32 {
	Least = -2147483648
}

union Nothing {
	A None
	B None
}

struct None {}

struct All {
	Low Low
	High High
	Small Small
	Word Word
	Int Int
	Nothing Nothing
}

service Things {
	call Get(All) All
}
`)
	if err != nil {
		t.Fatal(err)
	}
	compile(t, header, []string{"things_get"},
		"sizeof(char[(SAMPLE_LOW_LEAST == INT64_MIN) ? 1 : -1])", "sizeof(char[(SAMPLE_LOW_NEXT == -INT64_MAX) ? 1 : -1])",
		"sizeof(char[(SAMPLE_LOW_MOST == INT64_MAX) ? 1 : -1])", "sizeof(char[(SAMPLE_HIGH_HALF == 0x8000000000000000u) ? 1 : -1])",
		"sizeof(char[(SAMPLE_HIGH_MOST == UINT64_MAX) ? 1 : -1])", "sizeof(char[(SAMPLE_SMALL_LEAST == -128) ? 1 : -1])",
		"sizeof(char[(SAMPLE_WORD_MOST == UINT32_MAX) ? 1 : -1])", "sizeof(char[(SAMPLE_INT_LEAST == INT32_MIN) ? 1 : -1])",
		"sizeof(char[(sizeof(sample_nothing_t) == 4) ? 1 : -1])")
}

// What can't be written in C, or would be written twice, is refused by its name.
func TestNamesThatAreRefused(t *testing.T) {
	const service = "\nservice S {\n\tcall Get(P) P\n}\n\nstruct P {\n\tX uint8\n}\n"
	for _, v := range []struct {
		name, base, text string
		said             []string
	}{
		{"a file with a dash", "front-door", service, []string{`"front-door"`, "rename the file"}},
		{"a file that begins with a digit", "2nd", service, []string{`"2nd"`}},
		{"a file that begins with an underscore", "_x", service, []string{`"_x"`}},
		{"a file in another script", "tür", service, []string{`"tür"`}},
		{"a file that would end a comment", "*/int evil;/*", service, []string{"rename the file"}},
		{"a file with a suffix alone", "", service, []string{`""`}},
		{"a file called as cell.h", "cell", service, []string{"cell.h"}},
		{"a service called as cell.h", "sample", "service Cell {\n\tcall Send()\n}\n", []string{"Cell.Send", "CELL_SEND_FINGERPRINT", "cell.h"}},
		{"a service that begins as cell.h", "sample", "service CellNode {\n\tcall Init()\n}\n", []string{"CellNode.Init", "cell.h"}},
		{"the values of two enums", "sample", "enum A uint8 {\n\tB_C = 1\n}\n\nenum A_B uint8 {\n\tC = 2\n}\n" + service, []string{"SAMPLE_A_B_C", "A.B_C", "A_B.C"}},
		{"a value and an alternative", "sample", "enum A uint8 {\n\tB_C = 1\n}\n\nunion A_B {\n\tC uint8\n}\n" + service, []string{"SAMPLE_A_B_C", "A.B_C", "A_B.C"}},
		{"a value and the guard", "sample", "enum Cell uint8 {\n\tH = 1\n}\n" + service, []string{"SAMPLE_CELL_H", "Cell.H"}},
		{"a method called as the table", "sample", "service S {\n\tcall Methods()\n}\n", []string{"s_methods", "S.Methods", "the table"}},
		{"methods of two services", "sample", "service A {\n\tcall B_C()\n}\n\nservice A_B {\n\tcall C()\n}\n", []string{"A.B_C", "A_B.C"}},
		{"a value and a table's length", "lock", "enum A uint8 {\n\tMethods = 1\n}\n\nservice LockA {\n\tcall Get()\n}\n", []string{"LOCK_A_METHODS", "A.Methods", "LockA"}},
		{"a value and a fingerprint", "lock", "enum Get uint8 {\n\tFingerprint = 1\n}\n\nservice Lock {\n\tcall Get()\n}\n", []string{"LOCK_GET_FINGERPRINT", "Get.Fingerprint", "Lock.Get"}},
		{"a type of stdint.h", "uint", "struct Fast8 {\n\tX uint8\n}\n\nservice S {\n\tcall Get(Fast8)\n}\n", []string{"uint_fast8_t", "Fast8"}},
		{"a type of stddef.h", "max", "struct Align {\n\tX uint8\n}\n\nservice S {\n\tcall Get(Align)\n}\n", []string{"max_align_t", "Align"}},
		{"an enum of such a name", "int", "enum Least8 uint8 {\n\tMax = 1\n}\n" + service, []string{"int_least8_t", "enum Least8"}},
		{"a handler that is a word of C++", "sample", "service Static {\n\tcall Cast()\n}\n", []string{"static_cast", "Static.Cast"}},
		{"a handler that is an operator", "sample", "service Not {\n\tcall Eq()\n}\n", []string{"not_eq", "Not.Eq"}},
		{"a handler that is a type", "sample", "service Size {\n\tcall T()\n}\n", []string{"size_t", "Size.T"}},
	} {
		t.Run(v.name, func(t *testing.T) {
			s, err := schema.Parse("cell 1\n\n" + strings.TrimPrefix(v.text, "\n"))
			if err != nil {
				t.Fatal(err)
			}
			header, err := Generate(s, v.base)
			if !errors.Is(err, ErrName) || header != "" {
				t.Fatalf("%v\n%s", err, header)
			}
			for _, want := range v.said {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}

// Names that come near each other, but do not meet.
func TestNamesThatStayApart(t *testing.T) {
	header, err := generate(t, `cell 1

struct X {
	Y_T uint8
	T uint8
	Y uint8
}

struct X_T_Y {
	A uint8
}

struct X_T_0 {
	B uint8
	C uint8
}

struct HTTPServer {
	URLPath2 uint8
	a__b uint8
	c_ uint8
}

service Things {
	call Get(X) X_T_Y
	call Method(X_T_0) HTTPServer
	call GetMethods(X)
}
`)
	if err != nil {
		t.Fatal(err)
	}
	compile(t, header, []string{"things_get", "things_method", "things_get_methods"}, "sizeof(((sample_httpserver_t *)0)->urlpath2)")
}
