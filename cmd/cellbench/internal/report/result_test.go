package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// golden compares got with a file in testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; run the test with -update to make it", err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; look at it with -update and git diff.\ngot:\n%s", name, got)
	}
}

func written(t *testing.T, write func(io.Writer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// smallReport is one result of each shape, with curves cut short so that the
// golden file can be read.
func smallReport(t *testing.T) Report {
	full := fixtureReport(t)
	rep := Report{Host: full.Host}
	for _, i := range []int{0, 3, 5, 6, 9, 10} {
		r := full.Results[i]
		r.Percentiles = r.Percentiles[:min(len(r.Percentiles), 2)]
		if r.Limit != nil {
			r.Limit.Percentiles = nil
		}
		rep.Results = append(rep.Results, r)
	}
	return rep
}

func TestJSONIsStable(t *testing.T) {
	rep := smallReport(t)
	golden(t, "report.json", written(t, func(w io.Writer) error { return WriteReport(w, rep) }))
	golden(t, "result.json", written(t, func(w io.Writer) error { return WriteResult(w, rep.Results[0]) }))
}

func TestJSONRoundTrip(t *testing.T) {
	rep := fixtureReport(t)
	other := *rep.Host
	other.Kernel = "6.13.0"
	rep.Results[1].Host = &other // differs from the report's: must survive
	back, err := Read(bytes.NewReader(written(t, func(w io.Writer) error { return WriteReport(w, rep) })))
	if err != nil {
		t.Fatal(err)
	}
	if len(back.Results) != len(rep.Results) {
		t.Fatalf("%d results came back of %d", len(back.Results), len(rep.Results))
	}
	for i, want := range rep.Results {
		if got := back.Results[i]; !reflect.DeepEqual(got, want) {
			t.Errorf("result %d changed:\n got %+v\nwant %+v", i, got, want)
		}
		single, err := Read(bytes.NewReader(written(t, func(w io.Writer) error { return WriteResult(w, want) })))
		if err != nil || len(single.Results) != 1 || !reflect.DeepEqual(single.Results[0], want) {
			t.Errorf("result %d changed on its own: %v", i, err)
		}
	}
}

// Fields that scripts rely on are there even where they are null.
func TestFieldsAreAlwaysPresent(t *testing.T) {
	res, err := Combine(Setting{Kind: KindJitter, Link: "cpu 1"}, Setting{}, []Round{{}})
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(written(t, func(w io.Writer) error { return WriteResult(w, res) }), &got); err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields(`schema kind link size payload batch count wait rate loop ns
		msgs_per_s bytes_per_s limit ratio_p50 ratio_p99 ratio_p99_9 ratio_msgs ratio_bytes spread path started`) {
		if _, ok := got[name]; !ok {
			t.Errorf("%s is missing", name)
		}
	}
	for _, name := range []string{"ns", "limit", "ratio_p50", "msgs_per_s", "spread"} {
		if got[name] != nil {
			t.Errorf("%s is %v, want null", name, got[name])
		}
	}
}

func TestEveryJSONFieldIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../../../docs/CELLBENCH.md")
	if err != nil {
		t.Fatal(err)
	}
	var walk func(reflect.Type)
	walk = func(ty reflect.Type) {
		for ty.Kind() == reflect.Pointer || ty.Kind() == reflect.Slice {
			ty = ty.Elem()
		}
		if ty.Kind() != reflect.Struct || ty.PkgPath() == "time" {
			return
		}
		for f := range ty.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name != "" && !bytes.Contains(doc, []byte("`"+name+"`")) {
				t.Errorf("%s of %v is not in docs/CELLBENCH.md", name, ty)
			}
			walk(f.Type)
		}
	}
	walk(reflect.TypeFor[Report]())
	walk(reflect.TypeFor[Comparison]())
}

func TestSettingNames(t *testing.T) {
	for _, c := range []struct {
		want string
		s    Setting
	}{
		{"rtt ring 64 B (40 of payload) spin closed loop", Setting{Kind: "rtt", Link: "ring", Size: 64, Payload: 40, Wait: "spin", Loop: Closed}},
		{"stream uds 1 MiB batch 32 park open loop at 50.0 K/s", Setting{Kind: "stream", Link: "uds", Size: 1 << 20, Payload: 1 << 20, Batch: 32, Wait: "park", Rate: 50e3, Loop: Open}},
		{"fanin ring 64 B 10 of 1000 peers spin closed loop", Setting{Kind: "fanin", Link: "ring", Size: 64, Payload: 64, Peers: 1000, Busy: 10, Wait: "spin", Loop: Closed}},
		{"jitter cpu 2", Setting{Kind: "jitter", Link: "cpu 2"}},
		{"x?[2J y", Setting{Kind: "x\x1b[2J", Link: "y"}},
	} {
		if got := c.s.String(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
