package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/quic"
)

func newTokenServe(env *Env) *cobra.Command {
	var dir string
	var lifetime time.Duration
	cmd := &cobra.Command{
		Use:   "serve ADDR",
		Short: "Enrol nodes that come over the network with a token",
		Long: `Listens at ADDR ("host:port", UDP) until it is interrupted, and admits nodes that
come by "cellnode join TOKEN@HOST:PORT", on the node where the cluster's key
lies: only there can the uses of a token be counted (--uses). What a node gets
is a membership that the cluster's key has signed; it outlives the token, is
renewed by "cellnode join @HOST:PORT", and ends when the token is revoked.`,
		Example: "  cellnode token serve :4434",
		Args:    cobra.ExactArgs(1),
	}
	where := keptIn(cmd, &dir)
	cmd.Flags().DurationVar(&lifetime, "for", identity.MemberLifetime, "how long the memberships are valid")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := mustLast("for", lifetime); err != nil {
			return err
		}
		path, err := where()
		if err != nil {
			return err
		}
		return serveTokens(cmd.Context(), env, path, args[0], lifetime)
	}
	return cmd
}

func serveTokens(ctx context.Context, env *Env, path, addr string, lifetime time.Duration) error {
	trust, err := identity.LoadTrust(path)
	if err != nil {
		return err
	}
	issuer, err := identity.NewIssuer(path, trust, lifetime)
	if err != nil {
		return err
	}
	credentials, err := identity.LoadCredentials(path)
	if err != nil {
		return err
	}
	news := make(chan string, 16) // of several goroutines, to the one that writes
	say := func(format string, args ...any) {
		select {
		case news <- fmt.Sprintf(format, args...):
		default: // whoever floods is not written about in full
		}
	}
	e, err := quic.Listen(addr, credentials, trust, &quic.Options{
		Enrol: func(id identity.ID, evidence identity.Evidence) (*identity.Enrolment, error) {
			made, err := issuer.Enrol(id, evidence)
			if err == nil {
				say("enrolled %v until %s", id, made.Membership.NotAfter.Format(time.RFC3339))
			}
			return made, err
		},
		Refused: func(addr string, why error) { say("refused %s: %v", addr, why) },
	})
	if err != nil {
		return err
	}
	defer e.Close()
	if err := env.Line(map[string]string{"address": e.Addr().String()}, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "enrolling at %v\n", e.Addr())
		return err
	}); err != nil {
		return err
	}
	for {
		select {
		case line := <-news:
			if _, err := fmt.Fprintln(env.Err, line); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func newJoin(env *Env) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "join TOKEN[@HOST:PORT]|@HOST:PORT|-",
		Short: "Make this node a member of a cluster",
		Long: `Makes this node a member of the cluster that the token is of. With HOST:PORT it is
enrolled there, where "cellnode token serve" or a node that enrols runs: counted
tokens need that, and the membership outlives the token. Without, it is a member
for as long as the token is valid. @HOST:PORT alone renews the membership that
it has, also for a new key ("cellnode id rotate").

With "-" all of this is read from standard input, where other users of the host
can't see it.`,
		Example: "  cellnode join - < token\n  cellnode join celltoken1…@cellar:4434",
		Args:    cobra.ExactArgs(1),
	}
	where := keptIn(cmd, &dir)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		text := args[0]
		if text == "-" {
			line, err := bufio.NewReader(io.LimitReader(env.In, 4096)).ReadString('\n')
			if err != nil && err != io.EOF {
				return err
			}
			text = line
		}
		token, addr, enrol := strings.Cut(strings.TrimSpace(text), "@")
		var t *identity.Token
		if token != "" || !enrol {
			var err error
			if t, err = identity.ParseToken(token); err != nil {
				return &UsageError{err}
			}
		}
		path, err := where()
		if err != nil {
			return err
		}
		m, err := join(cmd.Context(), path, t, addr)
		if err != nil {
			return err
		}
		return env.Show(map[string]string{"id": m.Node.String(), "cluster": m.Cluster.String(), "until": m.Until().Format(time.RFC3339)}, func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "%v is a member of %v until %s\n", m.Node, m.Cluster, m.Until().Format(time.RFC3339))
			return err
		})
	}
	return cmd
}

// join makes the node in path a member: by the token alone if addr is empty, by
// being enrolled there otherwise, with what it has if there is no token.
func join(ctx context.Context, path string, t *identity.Token, addr string) (*identity.Membership, error) {
	if addr == "" {
		if t.Grant.Uses != 0 {
			return nil, &UsageError{fmt.Errorf("the token is counted (it is for %d nodes), and only where it was made can that be done: join TOKEN@HOST:PORT", t.Grant.Uses)}
		}
		return identity.Join(path, t, time.Now())
	}
	k, err := identity.LoadOrCreate(path)
	if err != nil {
		return nil, err
	}
	c, err := identity.LoadCredentials(path)
	if err != nil {
		return nil, err
	}
	if t != nil {
		m, err := t.Join(k.ID(), time.Now())
		if err == nil {
			err = c.SetMembership(m)
		}
		if err != nil {
			return nil, err
		}
	}
	made, err := quic.Enrol(ctx, addr, c)
	if err != nil {
		return nil, err
	}
	return made.Membership, identity.SaveEnrolment(path, made)
}
