package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// marketStep is a request to the gateway and what it answers.
type marketStep struct{ path, body, want string }

// TestMarketOverThreeHosts runs the programs of examples/market as they are, each
// on a host of its own: the gateway calls the engine and the ledger, and the engine
// the ledger, all by name.
func TestMarketOverThreeHosts(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the example")
	}
	s := newStreet(t, 3)
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", bin+"/", marketPrograms+"...")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	ledger, engine, gateway := s.add("ledger"), s.add("engine"), s.add("gateway")
	ledger.serves("market-ledger", filepath.Join(bin, "ledger"))
	engine.serves("market-exchange", filepath.Join(bin, "engine"), "market-ledger")
	gateway.writes("[cells.gateway]\ncommand = [%q, \"-listen\", \"127.0.0.1:8080\"]\ncapsid = \"none\"\nserves = false\nreach = [\"market-ledger\", \"market-exchange\"]\n", filepath.Join(bin, "gateway"))
	for _, h := range []*house{gateway, engine, ledger} { // in any order
		h.start(s.token)
	}
	begun := time.Now()
	client := gateway.http()
	ask := func(x marketStep) (string, error) {
		var reply *http.Response
		var err error
		if x.body == "" {
			reply, err = client.Get("http://127.0.0.1:8080" + x.path)
		} else {
			reply, err = client.Post("http://127.0.0.1:8080"+x.path, "application/json", strings.NewReader(x.body))
		}
		if err != nil {
			return "", err
		}
		defer reply.Body.Close()
		text, err := io.ReadAll(reply.Body)
		return fmt.Sprintf("%d %s", reply.StatusCode, strings.TrimSpace(string(text))), err
	}
	var last string
	s.eventually("the gateway answers", func() bool {
		text, err := ask(marketStep{path: "/accounts/nobody"})
		last = fmt.Sprint(text, err)
		return err == nil && strings.HasPrefix(text, "404 ")
	})
	t.Logf("the first answer came %v after the last start (%s)", time.Since(begun), last)
	for _, x := range []marketStep{
		{"/deposits", `{"Account": "anna", "Cents": 100000}`, `200 {"Name":"anna","Cents":100000,"Holdings":[]}`},
		{"/deposits", `{"Account": "bert", "Symbol": "TEA", "Quantity": 10}`, `200 {"Name":"bert","Cents":0,"Holdings":[{"Symbol":"TEA","Quantity":10}]}`},
		{"/orders", `{"Account": "bert", "Symbol": "TEA", "Side": "Sell", "Price": 250, "Quantity": 10}`, `200 {"Trades":[],"Resting":10}`},
		{"/orders", `{"Account": "anna", "Symbol": "TEA", "Side": "Buy", "Price": 260, "Quantity": 4}`,
			`200 {"Trades":[{"Buyer":"anna","Seller":"bert","Symbol":"TEA","Price":250,"Quantity":4}],"Resting":0}`},
		{"/books/TEA", "", `200 {"Bids":[],"Asks":[{"Price":250,"Quantity":6}]}`},
		{"/accounts/anna", "", `200 {"Name":"anna","Cents":99000,"Holdings":[{"Symbol":"TEA","Quantity":4}]}`},
		{"/accounts/bert", "", `200 {"Name":"bert","Cents":1000,"Holdings":[{"Symbol":"TEA","Quantity":6}]}`},
	} {
		if got, err := ask(x); err != nil || got != x.want {
			t.Errorf("%s %s: %s, %v\nwanted %s", x.path, x.body, got, err, x.want)
		}
	}
	if got, err := ask(marketStep{path: "/accounts/carl"}); err != nil || !strings.HasPrefix(got, "404 ") || !strings.Contains(got, "not found") {
		t.Errorf("a status of the ledger, two hosts away: %s, %v", got, err)
	}
}

// serves gives the node a cell that is a program, which may call others.
func (h *house) serves(name, program string, reach ...string) {
	text, _ := json.Marshal(append([]string{}, reach...))
	h.writes("[cells.%s]\ncommand = [%q]\ncapsid = \"none\"\nreach = %s\n", name, program, text)
}

// writes writes the node's configuration.
func (h *house) writes(format string, args ...any) {
	h.street.t.Helper()
	if err := os.WriteFile(h.home+".toml", fmt.Appendf(nil, format, args...), 0o600); err != nil {
		h.street.t.Fatal(err)
	}
}

// http returns a client on the node's host.
func (h *house) http() *http.Client {
	dial := func(_ context.Context, network, address string) (c net.Conn, err error) {
		err = h.street.lab.Hosts[h.number].Do(func() (err error) { c, err = net.DialTimeout(network, address, 5*time.Second); return err })
		return c, err
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial}, Timeout: 10 * time.Second}
}
