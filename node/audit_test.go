package node

import (
	"log/slog"
	"strings"
	"testing"
)

func TestRefusalsDoNotFloodTheAudit(t *testing.T) {
	a, err := openAudit("", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		a.refused("one", "one, process 1", "cell", "it may not")
	}
	a.refused("other", "other", "cell", "it may not")
	all := a.all()
	if most := 2 + 60; len(all) > most || all[0].Who != "one, process 1" || all[len(all)-1].Who != "other" {
		t.Fatalf("%d entries, %+v", len(all), all)
	}
	r := a.refusals["one"]
	r.noted = r.noted.Add(-refusalPace)
	a.refusals["one"] = r
	a.refused("one", "one, process 2", "cell", "it may not")
	if last := a.all()[len(a.all())-1]; !strings.Contains(last.Why, "more refusals") {
		t.Errorf("%+v", last)
	}
}

func TestTheTableOfRefusalsIsBounded(t *testing.T) {
	a, err := openAudit("", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3 * refusersKept {
		a.refused(strings.Repeat("x", n), "x", "cell", "it may not")
	}
	if n := len(a.refusals); n > refusersKept {
		t.Errorf("%d are kept", n)
	}
}
