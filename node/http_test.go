package node_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/cell-runtime/cell/examples/versions/v1"
	"github.com/cell-runtime/cell/node/config"
)

// get asks a node's HTTP server, naming it as host.
func get(t *testing.T, method, address, path, host string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(soon(t), method, "http://"+address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if host != "" {
		req.Host = host
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body), res.Header
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	c := postage(privateDir(t), "v1", func(c *config.Cell) { c.MaxRestarts = 1 })
	c.Operations = config.Operations{Prometheus: "127.0.0.1:0", Web: "127.0.0.1:0", Pprof: true}
	r := run(t, c, nil)
	if _, err := v1.NewPostageClient(r.caller()).Quote(soon(t), v1.Parcel{Weight: 1}); err != nil {
		t.Fatal(err)
	}
	at := r.node.HTTP()
	for name, tc := range map[string]struct {
		method, address, path, host string
		code                        int
		want                        string
	}{
		"metrics of the node":   {"GET", at[0], "/metrics", "", 200, `cell_node_state{cell="postage",process="node"}`},
		"healthy":               {"GET", at[0], "/healthz", "", 200, "ok"},
		"ready":                 {"GET", at[0], "/readyz", "", 200, "ok"},
		"profiles, asked for":   {"GET", at[0], "/debug/pprof/cmdline", "", 200, ""},
		"the page":              {"GET", at[1], "/", "", 200, "<h1>cellnode</h1>"},
		"its script":            {"GET", at[1], "/page.js", "", 200, "state.json"},
		"its style":             {"GET", at[1], "/style.css", "", 200, "prefers-color-scheme"},
		"no profiles there":     {"GET", at[1], "/debug/pprof/", "", 404, ""},
		"no metrics there":      {"GET", at[1], "/metrics", "", 404, ""},
		"writing":               {"POST", at[1], "/state.json", "", 405, "for reading"},
		"by another name":       {"GET", at[1], "/state.json", "attacker.example", 403, "name this host"},
		"by the name localhost": {"GET", at[1], "/", "localhost:80", 200, "cellnode"},
		"by its other address":  {"GET", at[1], "/", "[::1]:80", 200, "cellnode"},
	} {
		t.Run(name, func(t *testing.T) {
			code, body, head := get(t, tc.method, tc.address, tc.path, tc.host)
			if code != tc.code || !strings.Contains(body, tc.want) {
				t.Errorf("%d, wanted %d and %q: %.300s", code, tc.code, tc.want, body)
			}
			if !strings.Contains(head.Get("Content-Security-Policy"), "default-src 'none'") {
				t.Error("no content security policy")
			}
		})
	}
	_, body, _ := get(t, "GET", at[1], "/state.json", "")
	var state struct {
		Cells []struct {
			Name, State string
			Versions    []struct{ Name string } `json:"all_versions"`
		} `json:"cells"`
		Audit []struct{ Did string } `json:"audit"`
	}
	if err := json.Unmarshal([]byte(body), &state); err != nil || len(state.Cells) != 1 || state.Cells[0].State != "ready" ||
		state.Cells[0].Versions[0].Name != "v1" || len(state.Audit) == 0 {
		t.Errorf("%v: %s", err, body)
	}
	t.Run("in a browser", func(t *testing.T) { inBrowser(t, at[1]) })
}

// inBrowser has a headless browser run the page's script, where there is one.
func inBrowser(t *testing.T, address string) {
	browser, err := exec.LookPath("chromium")
	if err != nil || testing.Short() {
		t.Skip("chromium is not installed, or the test is to be short; the page's files were fetched all the same")
	}
	cmd := exec.CommandContext(soon(t), browser, "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir="+t.TempDir(),
		"--virtual-time-budget=3000", "--dump-dom", "http://"+address+"/")
	dom, err := cmd.Output()
	if err != nil {
		t.Skipf("chromium does not run here: %v", err)
	}
	for _, want := range []string{`<th scope="row">postage</th>`, `class="ready"`, "Postage.Quote 734e6c87957e1953", `aria-pressed="false"`} {
		if !strings.Contains(string(dom), want) {
			t.Errorf("the page does not show %q:\n%s", want, dom)
		}
	}
}
