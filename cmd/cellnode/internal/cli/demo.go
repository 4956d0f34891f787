package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cell-runtime/cell/capsid"
	"github.com/cell-runtime/cell/node"
	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/sched"
)

// marketPrograms is where the demo's programs are.
const marketPrograms = "github.com/cell-runtime/cell/examples/market/"

// demo is what cellnode demo is told.
type demo struct {
	gateway, web, capsid string
}

// newDemo runs the market example.
func newDemo(env *Env) *cobra.Command {
	d := demo{}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run the market example: a ledger, an engine and a gateway, each in its capsid",
		Long: `Builds the programs of examples/market (run it within the repository, with Go
installed), and runs a node with them in a runtime directory of its own. It prints
what to try, and ends with ctrl-C, leaving nothing.

The ledger and the engine run in the sandbox that --capsid names; by default that is
bwrap where this host has what it needs, and otherwise the demo says what is missing
and ends: a sandbox is not left out unasked. The gateway speaks HTTP, for which a
sandbox has no network, so it runs in none.`,
		Example: "  cellnode demo\n  cellnode demo --capsid none --gateway 127.0.0.1:8081",
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, address := range []string{d.gateway, d.web} {
				if _, _, err := net.SplitHostPort(address); address != "" && err != nil {
					return usagef("%q is no address such as 127.0.0.1:8080", address)
				}
			}
			return d.run(cmd.Context(), env)
		},
	}
	cmd.Flags().StringVar(&d.gateway, "gateway", "127.0.0.1:8080", "where the gateway speaks HTTP")
	cmd.Flags().StringVar(&d.web, "web", "127.0.0.1:9465", "where the node shows its page; \"\" for nowhere")
	cmd.Flags().StringVar(&d.capsid, "capsid", "bwrap", "sandbox of the ledger and the engine: "+strings.Join(capsid.Backends(), ", "))
	return cmd
}

func (d demo) run(ctx context.Context, env *Env) error {
	if err := d.probe(ctx); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "cellnode-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fmt.Fprintln(env.Err, "building examples/market …")
	build := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(dir, "bin")+"/", marketPrograms+"...")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("the example's programs can't be built: %w\n%sRun it within the repository, with Go installed", err, out)
	}
	run := filepath.Join(dir, "run")
	if err := os.Mkdir(run, 0o700); err != nil {
		return err
	}
	n, err := node.New(node.Options{Config: d.config(dir, run), Logger: logger(env, config.Log{Format: "text", Level: "warn"})})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	select {
	case <-n.Ready():
		d.tell(env, n, run)
	case err := <-ended:
		return errors.Join(err, ctx.Err())
	}
	err = <-ended
	fmt.Fprintln(env.Out, "\nAll cells have ended, and nothing is left.")
	return err
}

// probe says whether the sandbox can be had.
func (d demo) probe(ctx context.Context) error {
	b, err := capsid.Open(d.capsid)
	if err != nil {
		return &UsageError{err}
	}
	for _, f := range b.Probe(ctx) {
		if f.Severity == sched.Problem {
			return fmt.Errorf("the sandbox %s can't be had here:\n%v\nMend it, or run the demo with --capsid none, without sandboxes", d.capsid, f)
		}
	}
	return nil
}

func (d demo) config(dir, run string) config.Config {
	c := config.Default()
	c.RuntimeDir = run
	c.Operations.Web = d.web
	cell := func(program, sandbox string, arguments ...string) config.Cell {
		cell := config.DefaultCell()
		cell.Command = append([]string{filepath.Join(dir, "bin", program)}, arguments...)
		cell.Capsid, cell.Version = sandbox, program
		return cell
	}
	c.Cells["market-ledger"] = cell("ledger", d.capsid)
	c.Cells["market-exchange"] = cell("engine", d.capsid)
	gateway := cell("gateway", "none", "-listen", d.gateway)
	gateway.Serves = false
	c.Cells["market-gateway"] = gateway
	return c
}

// invoked is how this program is run from a shell: go run leaves no program
// behind that could be named.
func invoked() string {
	self, err := os.Executable()
	if err == nil && strings.Contains(self, string(filepath.Separator)+"go-build") {
		return "go run ./cmd/cellnode"
	}
	return os.Args[0]
}

func (d demo) tell(env *Env, n *node.Node, run string) {
	fmt.Fprintf(env.Out, "\nThe market is open (process %d):\n\n", os.Getpid())
	for _, c := range n.State().Cells {
		for _, i := range c.Instances {
			fmt.Fprintf(env.Out, "  %-16s process %-7d capsid %-6s %s\n", c.Name, i.PID, c.Capsid, c.State)
		}
		if len(c.Instances) == 0 {
			fmt.Fprintf(env.Out, "  %-16s %s: %s\n", c.Name, c.State, c.Why)
		}
	}
	fmt.Fprintf(env.Out, "\nTry, in another terminal:\n\n")
	fmt.Fprintf(env.Out, "  url=http://%s\n", d.gateway)
	fmt.Fprintf(env.Out, "  curl -sS $url/deposits -d '{\"Account\": \"anna\", \"Cents\": 100000}'\n")
	fmt.Fprintf(env.Out, "  curl -sS $url/deposits -d '{\"Account\": \"bert\", \"Symbol\": \"TEA\", \"Quantity\": 10}'\n")
	fmt.Fprintf(env.Out, "  curl -sS $url/orders -d '{\"Account\": \"bert\", \"Symbol\": \"TEA\", \"Side\": \"Sell\", \"Price\": 250, \"Quantity\": 10}'\n")
	fmt.Fprintf(env.Out, "  curl -sS $url/orders -d '{\"Account\": \"anna\", \"Symbol\": \"TEA\", \"Side\": \"Buy\", \"Price\": 260, \"Quantity\": 4}'\n\n")
	fmt.Fprintf(env.Out, "  export CELL_RUNTIME_DIR=%s\n", run)
	me := invoked()
	fmt.Fprintf(env.Out, "  %[1]s ps\n  %[1]s top\n  %[1]s path market-ledger\n", me)
	fmt.Fprintf(env.Out, "  %s call market-ledger.Account '{\"Name\": \"anna\"}'\n", me)
	fmt.Fprintf(env.Out, "  %s restart market-exchange   # no call fails meanwhile\n", me)
	if d.web != "" {
		fmt.Fprintf(env.Out, "\nThe page: http://%s/\n", d.web)
	}
	fmt.Fprintln(env.Out, "ctrl-C ends it.")
}
