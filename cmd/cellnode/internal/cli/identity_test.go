package cli

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cell-runtime/cell/identity"
)

func TestIdentityCommands(t *testing.T) {
	home := t.TempDir()
	a, b := "--dir="+filepath.Join(home, "a"), "--dir="+filepath.Join(home, "b")
	ok := func(args ...string) string {
		t.Helper()
		code, out, complaints := run(t, args...)
		if code != ExitOK || complaints != "" {
			t.Fatalf("%v: code %d, %s", args, code, complaints)
		}
		return out
	}
	idA := strings.TrimSpace(ok("id", a))
	if _, err := identity.ParseID(idA); err != nil || strings.TrimSpace(ok("id", a)) != idA {
		t.Errorf("%q, %v", idA, err)
	}
	ok("trust", "add", b, idA, "cellar")
	if out := ok("trust", "ls", b); !strings.Contains(out, idA+" cellar") {
		t.Errorf("%s", out)
	}
	if out := ok("trust", "add", b, idA); !strings.Contains(out, "on the list") {
		t.Errorf("%s", out)
	}
	ok("trust", "rm", b, idA)

	token := ok("token", "create", a, "--for", "1h", "--label", "rack 7")
	if out := ok("join", b, token); !strings.Contains(out, "is a member of cellcluster1") {
		t.Errorf("%s", out)
	}
	if out := ok("id", b); !strings.Contains(out, "member of cellcluster1") {
		t.Errorf("%s", out)
	}
	var list []issued
	if err := json.Unmarshal([]byte(ok("token", "ls", a, "-o", "json")), &list); err != nil || len(list) != 1 || list[0].Label != "rack-7" {
		t.Fatalf("%+v, %v", list, err)
	}
	ok("token", "revoke", a, list[0].Serial)
	if out := ok("token", "ls", a); !strings.Contains(out, "revoked") {
		t.Errorf("%s", out)
	}
	ok("trust", "revoke", a, strings.Fields(ok("id", b))[0])
	if out := ok("trust", "ls", a); strings.Count(out, "(by the cluster)") != 2 {
		t.Errorf("%s", out)
	}
	ok("leave", b)
	var out bytes.Buffer
	if code := Run(t.Context(), []string{"join", b, "-"}, &Env{In: strings.NewReader(token), Out: &out, Err: &out}); code != ExitOK {
		t.Errorf("by standard input: %d, %s", code, out.String())
	}
	if out := ok("id", "rotate", a, "--overlap", "24h"); !strings.Contains(out, idA) {
		t.Errorf("%s", out)
	}
	for name, args := range map[string][]string{
		"an id that was cut off":    {"trust", "add", b, idA[:20]},
		"a name with a comment":     {"trust", "add", b, idA, "a#b"},
		"a token that is none":      {"join", b, "celltoken1xyz"},
		"a serial that is none":     {"token", "revoke", a, "xyz"},
		"a membership of two":       {"join", a, strings.ToUpper(idA)},
		"an overlap of a day and …": {"id", "rotate", a, "--overlap", "nonsense"},
	} {
		t.Run(name, func(t *testing.T) {
			if code, _, complaints := run(t, args...); code != ExitUsage || complaints == "" {
				t.Errorf("code %d, %s", code, complaints)
			}
		})
	}
}
