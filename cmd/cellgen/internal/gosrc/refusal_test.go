package gosrc

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// head is the beginning of the sources below: line 1 to 7.
const head = `package p

import (
	"context"
	"time"
	"github.com/cell-runtime/cell/rpc"
)
`

// service is a service with one request, line 8 to 11 behind head.
const service = `
//cell:service
type S interface { M(ctx context.Context, req Q) error }
`

func TestWhatCantTravelIsRefusedWithItsLineAndWhatToWriteInstead(t *testing.T) {
	field := func(typ string) string { return service + "type Q struct { F " + typ + " }\n" }
	method := func(text string) string {
		return "\n//cell:service\ntype S interface {\n" + text + "\n}\ntype Q struct { A int64 }\ntype R struct { B int64 }\n"
	}
	for name, c := range map[string]struct {
		source string
		line   int // behind head
		want   string
	}{
		"int":                      {field("int"), 4, "write int64 or int32"},
		"uint":                     {field("uint"), 4, "write uint64 or uint32"},
		"uintptr":                  {field("uintptr"), 4, "write uint64"},
		"complex":                  {field("complex128"), 4, "struct of two float64"},
		"any":                      {field("any"), 4, "write a union"},
		"error":                    {field("error"), 4, "a string or an enum"},
		"map":                      {field("map[string]int64"), 4, "slice of structs with key and value"},
		"map within a slice":       {field("[]map[string]int64"), 4, "slice of structs with key and value"},
		"channel":                  {field("chan int64"), 4, "rpc.Sender[T] or rpc.Receiver[T]"},
		"function":                 {field("func()"), 4, "write a method"},
		"interface":                {field("interface{ M() }"), 4, "write a union"},
		"anonymous struct":         {field("struct{ A int64 }"), 4, "needs a name"},
		"time":                     {field("time.Time"), 4, "ns since 1970"},
		"duration":                 {field("time.Duration"), 4, "unit: ns"},
		"another package":          {field("rpc.Empty"), 4, "declare the type in this one"},
		"undeclared":               {field("Nowhere"), 4, "not declared in this package"},
		"pointer to pointer":       {field("**int64"), 4, "a single one"},
		"array of none":            {field("[0]int64"), 4, "at least 1"},
		"array of unknown length":  {field("[len(x)]int64"), 4, "not a constant"},
		"array too large":          {field("[1<<30]int64"), 4, "write a slice"},
		"string by another name":   {field("Name") + "type Name string\n", 4, "write string"},
		"slice by another name":    {field("Names") + "type Names []string\n", 4, "write the type itself"},
		"struct by another name":   {field("B") + "type B A\ntype A struct { X int64 }\n", 4, "write A here"},
		"number without values":    {field("Price") + "type Price int64\n", 5, "write int64 where it is used"},
		"int enum":                 {field("E") + "type E int\nconst A E = 1\n", 5, "write int64 or int32"},
		"map by another name":      {field("M") + "type M map[int64]bool\n", 5, "slice of structs"},
		"recursion":                {field("Q"), 4, "Q → Q"},
		"recursion by a slice":     {field("[]Node") + "type Node struct { Next []Node }\n", 5, "by index"},
		"recursion by an alias":    {field("A") + "type A = A\n", 5, "alias of itself"},
		"generic":                  {field("G[int64]") + "type G[T any] struct { X T }\n", 4, "types filled in"},
		"embedded":                 {service + "type Q struct { E }\ntype E struct { A int64 }\n", 4, "give the field a name"},
		"unexported field":         {service + "type Q struct { f int64 }\n", 4, "export it"},
		"blank field":              {service + "type Q struct { _ int64 }\n", 4, "leave it out"},
		"name that Go writes else": {service + "type Q struct { User_ID int64 }\n", 4, "write UserID"},
		"unknown tag":              {service + "type Q struct { A int64 `cell:\"size=4\"` }\n", 4, `cell:"unit=ns"`},
		"union without pointers":   {field("U") + "//cell:union\ntype U struct { A int64 }\n", 6, "make it a pointer"},
		"pointer to a union":       {field("*U") + "//cell:union\ntype U struct { A *int64 }\n", 4, "without *"},
		"empty union":              {field("U") + "//cell:union\ntype U struct {}\n", 6, "at least one alternative"},
		"empty struct in place":    {field("E") + "type E struct {}\n", 4, "nothing to hold"},
		"enum value twice":         {field("E") + "type E uint8\nconst ( A E = 1; B E = 1 )\n", 6, "has the number 1 already"},
		"two fields alike":         {service + "type Q struct { Ab int64; AB int64 }\n", 4, "differ in case"},

		"not an interface":     {"\n//cell:service\ntype S struct{}\n", 3, "a service is one"},
		"generic service":      {"\n//cell:service\ntype S[T any] interface { M(ctx context.Context) error }\n", 3, "known beforehand"},
		"embedded interface":   {method("\terror"), 4, "write out the methods"},
		"no method":            {"\n//cell:service\ntype S interface {}\n", 3, "at least one method"},
		"no context":           {method("\tM(req Q) error"), 4, "context.Context as its first"},
		"no error":             {method("\tM(ctx context.Context, req Q)"), 4, "must return an error"},
		"error is not last":    {method("\tM(ctx context.Context, req Q) (error, R)"), 4, "must return an error"},
		"three results":        {method("\tM(ctx context.Context, req Q) (R, R, error)"), 4, "must return an error"},
		"two requests":         {method("\tM(ctx context.Context, a, b Q) error"), 4, "one request"},
		"streams in disorder":  {method("\tM(ctx context.Context, out rpc.Sender[Q], in rpc.Receiver[Q]) error"), 4, "then one rpc.Receiver"},
		"pointer to a request": {method("\tM(ctx context.Context, req *Q) error"), 4, "leave out the *"},
		"pointer to a reply":   {method("\tM(ctx context.Context) (*R, error)"), 4, "leave out the *"},
		"request no struct":    {method("\tM(ctx context.Context, req int64) error"), 4, "wrap int64 in one"},
		"one-way with a reply": {method("\t//cell:oneway\n\tM(ctx context.Context, req Q) (R, error)"), 5, "nobody would wait"},
		"topic with a result":  {method("\t//cell:topic\n\tM(e Q) error"), 5, "returns nothing"},
		"topic with a context": {method("\t//cell:topic\n\tM(ctx context.Context, e Q)"), 5, "returns nothing"},
		"topic and one-way":    {method("\t//cell:topic\n\t//cell:oneway\n\tM(e Q)"), 6, "one of them"},
		"idempotent topic":     {method("\t//cell:topic\n\t//cell:idempotent\n\tM(e Q)"), 6, "can't be idempotent"},
		"unknown mark":         {method("\t//cell:onway\n\tM(ctx context.Context, req Q) error"), 4, "//cell:oneway"},
		"mark with a slip":     {"\n//cell:servce\n//cell:service\ntype S interface { M(ctx context.Context) error }\n", 2, "means nothing here"},
		"unexported method":    {method("\tm(ctx context.Context) error"), 4, "export it"},
		"variadic":             {method("\tM(ctx context.Context, req ...Q) error"), 4, "can travel"},
		"no service":           {"\ntype Q struct{}\n", -6, "//cell:service"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "p.go")
			if err := os.WriteFile(path, []byte(head+c.source), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Load(path)
			var problems Problems
			if !errors.As(err, &problems) || !errors.Is(err, ErrRefused) {
				t.Fatalf("Load returned %v, want Problems", err)
			}
			for _, p := range problems {
				if p.Pos.Filename == path && p.Pos.Line == strings.Count(head, "\n")+c.line && strings.Contains(p.What, c.want) {
					return
				}
			}
			t.Errorf("Load returned\n%v\nwant line %d with %q", err, strings.Count(head, "\n")+c.line, c.want)
		})
	}
}
