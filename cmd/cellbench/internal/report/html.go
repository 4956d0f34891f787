package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strconv"
	"time"
)

//go:embed page.tmpl
var pageText string

// pageTemplate escapes everything by its place on the page (html/template);
// nothing here is ever marked as safe.
var pageTemplate = template.Must(template.New("page").Parse(pageText))

// page is what page.tmpl shows.
type page struct {
	Started  string
	Host     string
	Facts    []fact
	Sections []pageSection
	Plots    []plot
	Charts   []bars
	Details  []detail
	Remarks  []string
}

// fact is a name and its value.
type fact struct{ Name, Value string }

// pageSection is a section for the template, whose fields must be exported.
type pageSection struct {
	Heading string
	Columns []pageColumn
	Rows    []pageRow
}

type pageColumn struct {
	Title string
	Right bool
}

type pageRow struct {
	Head  string
	Cells []pageCell
	Limit bool
}

type pageCell struct {
	Text  string
	Right bool
}

// detail is everything about one result.
type detail struct {
	Name  string
	Facts []fact
	Table numbers
}

// WriteHTML writes a page that needs nothing but itself: no script, no
// network. Its plots are inline SVG with a table behind each.
func WriteHTML(w io.Writer, rep Report) error {
	hues := palette{}
	p := page{
		Sections: pageSections(rep.Results),
		Plots:    plots(rep.Results, hues),
		Charts:   barCharts(rep.Results, hues),
		Remarks:  remarks(rep.Results),
	}
	host := rep.Host
	for _, r := range rep.Results {
		if host == nil {
			host = r.Host
		}
		if p.Started == "" && !r.Started.IsZero() {
			p.Started = r.Started.UTC().Format(time.RFC3339)
		}
		p.Details = append(p.Details, newDetail(&r))
	}
	if host != nil {
		p.Host, p.Facts = hostLine(host), hostFacts(host)
	}
	if err := pageTemplate.Execute(w, p); err != nil {
		return fmt.Errorf("writing HTML: %w", err)
	}
	return nil
}

func pageSections(results []Result) []pageSection {
	var out []pageSection
	for _, s := range sections(results) {
		ps := pageSection{Heading: s.heading()}
		for _, c := range s.columns {
			if c.title != inWords { // the page shows it as plots
				ps.Columns = append(ps.Columns, pageColumn{c.title, c.right})
			}
		}
		for _, r := range s.rows {
			pr := pageRow{Head: r.cells[0], Limit: r.limit}
			for c, col := range ps.Columns[1:] {
				pr.Cells = append(pr.Cells, pageCell{r.cells[c+1], col.Right})
			}
			ps.Rows = append(ps.Rows, pr)
		}
		out = append(out, ps)
	}
	return out
}

func hostFacts(h *Host) []fact {
	yes := map[bool]string{true: "yes", false: "no"}
	quota := optional(h.CPUQuota, digits3)
	if quota == "" {
		quota = none
	}
	commit := h.Commit
	if h.Dirty {
		commit += " with changes"
	}
	facts := []fact{
		{"CPU", joinWords(" ", h.CPU, bracket(h.CPUID))},
		{"CPUs used", joinInts(h.CPUs)},
		{"Pinning", h.Pinning},
		{"CPUs online", strconv.Itoa(h.CPUsOnline)},
		{"CPU quota", quota},
		{"Hardware threads", h.SMT},
		{"Frequency governor", h.Governor},
		{"Isolated CPUs", h.Isolated},
		{"Tickless CPUs", h.NoHZFull},
		{"Clock source", h.Clock},
		{"Huge pages", h.HugePages},
		{"Virtual machine", h.Virtual},
		{"Container", h.Container},
		{"Kernel", joinWords(" ", "Linux", h.Kernel, h.Arch)},
		{"Go", h.Go},
		{"GOMAXPROCS", strconv.Itoa(h.GOMAXPROCS)},
		{"GOGC", h.GOGC},
		{"GOMEMLIMIT", h.GOMEMLIMIT},
		{"GODEBUG", h.GODEBUG},
		{"Race detector", yes[h.Race]},
		{"Commit", commit},
	}
	return cleanFacts(facts)
}

// cleanFacts leaves out what is empty, and control characters, which no
// document may have.
func cleanFacts(facts []fact) []fact {
	for i, f := range facts {
		facts[i] = fact{printable(f.Name), printable(f.Value)}
	}
	return slices.DeleteFunc(facts, func(f fact) bool { return f.Value == "" })
}

func bracket(s string) string {
	if s == "" {
		return ""
	}
	return "(" + s + ")"
}

func newDetail(r *Result) detail {
	d := detail{Name: r.Setting.String(), Table: detailTable(r)}
	d.Facts = append(d.Facts,
		fact{"Samples", strconv.FormatUint(r.Count, 10)},
		fact{"Path taken", r.Path})
	for _, why := range r.Why {
		d.Facts = append(d.Facts, fact{"No better path because", why})
	}
	d.Facts = append(d.Facts, fact{"Input file", r.Input}, fact{"SHA-256 on both sides", r.SHA256})
	if r.Limit != nil {
		d.Facts = append(d.Facts, fact{"Limit", r.Limit.Setting.String()})
	}
	if r.Spread != nil {
		d.Facts = append(d.Facts, fact{"Rounds", strconv.Itoa(r.Spread.Rounds)})
	}
	if j := r.Jitter; j != nil {
		d.Facts = append(d.Facts,
			fact{"Gaps counted from", FormatNS(j.ThresholdNS)},
			fact{"Watched for", FormatNS(j.ObservedS * 1e9)},
			fact{"Gaps", digits3(j.GapsPerS) + "/s"},
			fact{"Time lost", formatPercent(j.LostShare)})
		for _, f := range j.Findings {
			d.Facts = append(d.Facts, fact{"Finding, " + f.Severity, joinSentences(f.What, f.Evidence, f.Fix)})
		}
	}
	for _, n := range r.Notes {
		d.Facts = append(d.Facts, fact{"Note", n})
	}
	d.Facts = cleanFacts(d.Facts)
	return d
}

// detailTable sets each figure beside its limit, its ratio and its spread.
func detailTable(r *Result) numbers {
	var limit Figures
	if r.Limit != nil {
		limit = r.Limit.Figures
	}
	var spread Spread
	if r.Spread != nil {
		spread = *r.Spread
	}
	t := numbers{Head: []string{"", "result", "limit", "ratio", "rounds from", "to"}}
	add := func(name string, figure func(Figures) *float64, format func(float64) string, ratio *float64, over *Range) {
		v := figure(r.Figures)
		if v == nil {
			return
		}
		cells := []string{name, format(*v), optional(figure(limit), format), optional(ratio, formatRatio), "", ""}
		if over != nil {
			cells[4], cells[5] = format(over.Min), format(over.Max)
		}
		t.Rows = append(t.Rows, cells)
	}
	add("min", ns(func(l *Latency) *float64 { return &l.Min }), FormatNS, nil, nil)
	overs := []*Range{spread.P50, spread.P90, spread.P99, spread.P999, spread.P9999, spread.P99999}
	ratios := []*float64{r.RatioP50, nil, r.RatioP99, r.RatioP999, nil, nil}
	for i, name := range []string{"p50", "p90", "p99", "p99.9", "p99.99", "p99.999"} {
		add(name, ns(func(l *Latency) *float64 { return *l.fields()[i] }), FormatNS, ratios[i], overs[i])
	}
	add("max", ns(func(l *Latency) *float64 { return &l.Max }), FormatNS, nil, spread.Max)
	add("mean", ns(func(l *Latency) *float64 { return &l.Mean }), FormatNS, nil, spread.Mean)
	add("messages", msgsPerS, FormatMsgs, r.RatioMsgs, spread.MsgsPerS)
	add("payload", bytesPerS, FormatBytes, r.RatioBytes, spread.BytesPerS)
	return t
}
