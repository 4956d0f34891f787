package report

import (
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

// pageElements are all that the page may consist of; none of them can fetch
// anything or run anything.
var pageElements = strings.Fields(`html head meta title style body header main section footer h1 h2 h3 p strong time
	div table thead tbody tr th td details summary dl dt dd ul li svg desc g line path circle rect text`)

// checkPage holds a page to be well-formed, to consist of pageElements, and to
// point nowhere; it returns the text of all elements.
func checkPage(t *testing.T, page string) string {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(page))
	d.Entity = xml.HTMLEntity
	var text strings.Builder
	ids := map[string]bool{}
	var refs []string
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the page is not well-formed: %v", err)
		}
		switch e := token.(type) {
		case xml.CharData:
			text.Write(e)
		case xml.StartElement:
			if !slices.Contains(pageElements, e.Name.Local) {
				t.Errorf("the page has a <%s>", e.Name.Local)
			}
			for _, a := range e.Attr {
				checkAttribute(t, e.Name.Local, a)
				switch a.Name.Local {
				case "id":
					if ids[a.Value] {
						t.Errorf("id %q is there twice", a.Value)
					}
					ids[a.Value] = true
				case "aria-labelledby":
					refs = append(refs, strings.Fields(a.Value)...)
				}
			}
		}
	}
	for _, r := range refs {
		if !ids[r] {
			t.Errorf("aria-labelledby names %q, which isn't there", r)
		}
	}
	return text.String()
}

func checkAttribute(t *testing.T, element string, a xml.Attr) {
	t.Helper()
	name := strings.ToLower(a.Name.Local)
	if strings.HasPrefix(name, "on") || slices.Contains([]string{"href", "src", "style", "srcset", "action", "data"}, name) {
		t.Errorf("<%s> has %s=%q", element, name, a.Value)
	}
	if strings.Contains(a.Value, "NaN") && name != "aria-label" || strings.Contains(a.Value, "Inf") && (name == "d" || name == "y" || name == "x") {
		t.Errorf("<%s> has %s=%q", element, name, a.Value)
	}
}

func pageOf(t *testing.T, rep Report) string {
	t.Helper()
	return string(written(t, func(w io.Writer) error { return WriteHTML(w, rep) }))
}

func TestPageShowsEverything(t *testing.T) {
	rep := fixtureReport(t)
	html := pageOf(t, rep)
	text := checkPage(t, html)
	for _, r := range rep.Results {
		if !strings.Contains(text, r.Setting.String()) {
			t.Errorf("%v is not on the page", r.Setting)
		}
	}
	for _, want := range []string{
		rep.Host.CPU, rep.Host.Kernel, rep.Host.Commit, "ring over memfd", "rings were not asked for",
		rep.Results[9].SHA256, "no isolated CPUs", "gaps may be the hypervisor's", "Open loop", "Closed loop",
		"99.99 %", "2026-03-01T12:00:00Z",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page doesn't say %q", want)
		}
	}
	// Three plots (closed, open, gaps) and three sizes of streams.
	if n := strings.Count(html, "<svg "); n != 6 {
		t.Errorf("%d drawings, want 6", n)
	}
	for _, pair := range [][2]string{{"<svg ", "<desc "}, {"<svg ", "<title id"}} {
		if strings.Count(html, pair[0]) != strings.Count(html, pair[1]) {
			t.Errorf("not every %s has a %s", pair[0], pair[1])
		}
	}
	// Each drawing and each result has a table.
	if n := strings.Count(html, `<table class="numbers">`); n != 6+len(rep.Results) {
		t.Errorf("%d tables of numbers", n)
	}
	for _, forbidden := range []string{"http:", "https:", "url(", "@import", "//", "<script"} {
		if strings.Contains(html, forbidden) {
			t.Errorf("the page has %q in it", forbidden)
		}
	}
}

func TestPageEscapes(t *testing.T) {
	const hostile = `"><script>alert(1)</script><img src=x onerror=alert(1)> & 'y' {{.}} ]]> </style></title>` + "\x00\x1b[2J\u202e"
	rep := fixtureReport(t)
	h := *rep.Host
	h.CPU, h.Kernel, h.Governor, h.Pinning, h.GODEBUG, h.Commit = hostile, hostile, hostile, hostile, hostile, hostile
	rep.Host = &h
	for i := range rep.Results {
		r := &rep.Results[i]
		r.Host = &h
		r.Kind, r.Link, r.Wait, r.Path, r.Input, r.SHA256 = r.Kind+hostile, hostile, hostile, hostile, hostile, hostile
		r.Why, r.Notes = []string{hostile}, []string{hostile}
		if r.Limit != nil {
			r.Limit.Link = hostile
		}
		if r.Jitter != nil {
			r.Jitter.Findings[0] = Finding{hostile, hostile, hostile, hostile}
		}
	}
	html := pageOf(t, rep)
	checkPage(t, html) // an injected element or attribute fails here
	if strings.ContainsAny(html, "\x00\x1b") {
		t.Error("control characters are on the page")
	}
}

func TestPageOfNothing(t *testing.T) {
	if text := checkPage(t, pageOf(t, Report{})); !strings.Contains(text, "There are no results.") {
		t.Error("an empty page doesn't say so")
	}
}

func TestPlotWithManyResultsIsSplit(t *testing.T) {
	var rep Report
	for i := range maxCurves + 2 {
		rep.Results = append(rep.Results, fixtureResult(t, fixture{
			got: Setting{Kind: KindRTT, Link: "link" + string(rune('a'+i)), Loop: Closed}, typical: 100, samples: 100,
		}))
	}
	ps := plots(rep.Results, palette{})
	if len(ps) != 2 || len(ps[0].Curves) != maxCurves || len(ps[1].Curves) != 2 {
		t.Fatalf("%d plots", len(ps))
	}
	seen := map[string]bool{}
	for _, c := range ps[0].Curves {
		if seen[c.Class] {
			t.Errorf("colour %s is used twice in a plot", c.Class)
		}
		seen[c.Class] = true
	}
}

func TestPlotNamesDontOverlap(t *testing.T) {
	curves := make([]curve, 6)
	for i := range curves {
		curves[i].labelY = plotHeight - plotBottom - float64(i%2)
	}
	placeLabels(curves)
	var ys []float64
	for _, c := range curves {
		ys = append(ys, c.labelY)
	}
	slices.Sort(ys)
	for i := 1; i < len(ys); i++ {
		if ys[i]-ys[i-1] < labelLeast {
			t.Errorf("names at %v and %v", ys[i-1], ys[i])
		}
	}
	if ys[0] < 0 || ys[5] > plotHeight-plotBottom {
		t.Errorf("names leave the plot: %v", ys)
	}
}

func TestAxisCoversItsValuesInRoundSteps(t *testing.T) {
	for _, c := range []struct{ low, high, wantLow, wantHigh float64 }{
		{105, 9_760, 100, 10_000},
		{100, 200, 100, 200},
		{0.1, 0.1, 0.1, 1},
		{230, 1e6, 200, 1e6},
		{999, 1001, 500, 2000},
	} {
		a := logAxis(c.low, c.high)
		if a.low/c.wantLow > 1.001 || c.wantLow/a.low > 1.001 || a.high/c.wantHigh > 1.001 || c.wantHigh/a.high > 1.001 {
			t.Errorf("%v to %v got axis %v", c.low, c.high, a)
		}
		if ticks := a.ticks(); len(ticks) < 2 || len(ticks) > 12 {
			t.Errorf("%v to %v has ticks %v", c.low, c.high, ticks)
		}
	}
}
