//go:build !nodragonboat && !s390x

// Command raft-node is a member of a small cluster: a store of keys and a
// ledger, each replicated by Raft.
//
//	raft-node init DIR ADDRESS…   makes a directory for each member of a cluster
//	raft-node run DIR/N           runs member N until it is told to stop
//
// Raft runs in a child process: when it gives up, it is started again.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/dragonboat"
	"github.com/cell-runtime/cell/consensus/kv"
	"github.com/cell-runtime/cell/consensus/supervise"
	"github.com/cell-runtime/cell/examples/raft/ledger"
	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
)

// member is a line of members.json, which all members have.
type member struct {
	Replica consensus.ReplicaID
	ID      identity.ID
	Address string
}

const childEnv = "RAFT_NODE_CHILD"

func main() {
	log.SetFlags(0)
	if len(os.Args) < 3 {
		log.Fatal("usage: raft-node init DIR ADDRESS…, or raft-node run DIR/N")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch dir := os.Args[2]; {
	case os.Args[1] == "init":
		err = initialize(dir, os.Args[3:])
	case os.Args[1] != "run":
		err = fmt.Errorf("%q is no command", os.Args[1])
	case os.Getenv(childEnv) == "":
		err = runChild(ctx, dir)
	default:
		err = serve(ctx, dir)
	}
	switch {
	case errors.Is(err, context.Canceled):
	case errors.Is(err, consensus.ErrDirectory), errors.Is(err, consensus.ErrDamaged), errors.Is(err, consensus.ErrConfig):
		log.Print(err)
		os.Exit(supervise.ExitRefused) // starting again won't help
	case err != nil:
		log.Fatal(err)
	}
}

// initialize makes keys for all members and tells each of the others.
func initialize(dir string, addresses []string) error {
	var members []member
	for i, a := range addresses {
		k, err := identity.LoadOrCreate(filepath.Join(dir, strconv.Itoa(i+1), "identity"))
		if err != nil {
			return err
		}
		members = append(members, member{Replica: consensus.ReplicaID(i + 1), ID: k.ID(), Address: a})
	}
	text, err := json.MarshalIndent(members, "", "\t")
	if err != nil {
		return err
	}
	for i := range members {
		if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(i+1), "members.json"), text, 0o600); err != nil {
			return err
		}
	}
	fmt.Printf("%d members\n", len(members))
	return nil
}

// runChild runs this program again, as the process that Raft may take with it.
func runChild(ctx context.Context, dir string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return supervise.Run(ctx, supervise.Options{
		Command: func() *exec.Cmd {
			cmd := exec.Command(self, "run", dir)
			cmd.Env = append(os.Environ(), childEnv+"=1")
			cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
			return cmd
		},
		Logger: slog.Default(),
	})
}

// serve is the child: a host, its groups, and their services at a unix socket.
func serve(ctx context.Context, dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, "members.json"))
	if err != nil {
		return err
	}
	var members []member
	if err := json.Unmarshal(text, &members); err != nil {
		return err
	}
	host, me, err := open(dir, members)
	if err != nil {
		return err
	}
	defer host.Close()
	server, err := rpc.NewServer(nil)
	if err != nil {
		return err
	}
	defer server.Close()
	first := make(map[consensus.ReplicaID]consensus.NodeID)
	for _, m := range members {
		first[m.Replica] = consensus.NodeID(m.ID.String())
	}
	store, err := host.Start(ctx, consensus.GroupConfig{Name: "kv", Replica: me.Replica, Members: first, Machines: kv.Machines()})
	if err != nil {
		return err
	}
	if _, err := kv.Serve(ctx, server, store); err != nil {
		return err
	}
	ms := ledger.Methods()
	book, err := host.Start(ctx, consensus.GroupConfig{Name: "ledger", Replica: me.Replica, Members: first, Machines: ms.Machines()})
	if err != nil {
		return err
	}
	if err := ms.Serve(server, book); err != nil {
		return err
	}
	l, err := uds.Listen(fmt.Sprintf("raft-%d", me.Replica), nil)
	if err != nil {
		return err
	}
	defer l.Close()
	return server.Run(ctx, l.AcceptLink)
}

// open opens this member's host, which believes the members and nobody else.
func open(dir string, members []member) (*dragonboat.Host, *member, error) {
	keys, err := identity.LoadCredentials(filepath.Join(dir, "identity"))
	if err != nil {
		return nil, nil, err
	}
	var trust identity.Trust
	addresses := make(map[consensus.NodeID]string)
	var me *member
	for i, m := range members {
		if err := trust.Allow(fmt.Sprintf("member-%d", m.Replica), m.ID); err != nil {
			return nil, nil, err
		}
		addresses[consensus.NodeID(m.ID.String())] = m.Address
		if m.ID == keys.ID() {
			me = &members[i]
		}
	}
	if me == nil {
		return nil, nil, fmt.Errorf("%w: node %v is not among the members", consensus.ErrConfig, keys.ID())
	}
	host, err := dragonboat.Open(dragonboat.Options{
		Node: consensus.NodeID(me.ID.String()), Dir: filepath.Join(dir, "raft"), Listen: me.Address,
		Security: dragonboat.NodeKeys(keys, &trust),
		Resolve: func(_ context.Context, node consensus.NodeID) (string, error) {
			if a, ok := addresses[node]; ok {
				return a, nil
			}
			return "", fmt.Errorf("node %s is no member", node)
		},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	return host, me, err
}
