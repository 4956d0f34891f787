package adapter

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/cell-runtime/cell/perf/peers/internal/peer"
)

var natsAdapter = peer.Adapter{
	Name: "nats", Family: peer.Messaging, Module: "github.com/nats-io/nats-server/v2",
	About: "NATS core, server embedded in the answering process, both clients over TCP on the loopback: request and reply; streams are publications",
	Works: everything,
	Serve: serveNATS, Dial: dialNATS,
}

const (
	natsEcho = "cell.echo"
	natsTake = "cell.take"

	natsPatience = 10 * time.Second
	// natsUnderWay and natsRound bound, in bytes and in messages, what is
	// published before the receiver is asked whether it follows: core NATS has
	// no flow control, and drops what a slow receiver leaves.
	natsUnderWay = 8 << 20
	natsRound    = 4096
)

type natsServer struct {
	s *server.Server
	c *nats.Conn
}

func serveNATS(peer.Setting) (peer.Server, error) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT,
		NoLog: true, NoSigs: true, MaxPayload: peer.MaxSize, MaxPending: 1 << 30})
	if err != nil {
		return nil, err
	}
	s.Start()
	n := &natsServer{s: s}
	if !s.ReadyForConnections(natsPatience) {
		return nil, errors.Join(errors.New("the NATS server did not begin to listen"), n.Close())
	}
	if err := n.answer(); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// answer connects the answering client.
func (n *natsServer) answer() (err error) {
	if n.c, err = nats.Connect(n.s.ClientURL()); err != nil {
		return err
	}
	if _, err := n.c.Subscribe(natsEcho, func(m *nats.Msg) { _ = m.Respond(m.Data) }); err != nil {
		return err
	}
	var t peer.Tally
	take, err := n.c.Subscribe(natsTake, func(m *nats.Msg) {
		t.Add(m.Data)
		if m.Reply != "" {
			_ = m.Respond(t.Append(nil))
		}
	})
	if err != nil {
		return err
	}
	return errors.Join(take.SetPendingLimits(-1, -1), n.c.Flush())
}

// Addr implements peer.Server.
func (n *natsServer) Addr() string { return n.s.ClientURL() }

// Close implements peer.Server.
func (n *natsServer) Close() error {
	if n.c != nil {
		n.c.Close()
	}
	n.s.Shutdown()
	n.s.WaitForShutdown()
	return nil
}

type natsClient struct{ c *nats.Conn }

func dialNATS(_ peer.Setting, addr string) (peer.Client, error) {
	c, err := nats.Connect(addr)
	if err != nil {
		return nil, err
	}
	return &natsClient{c}, nil
}

// Call implements peer.Client.
func (c *natsClient) Call(request []byte) ([]byte, error) { return c.request(natsEcho, request) }

func (c *natsClient) request(subject string, b []byte) ([]byte, error) {
	m, err := c.c.Request(subject, b, natsPatience)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", subject, err)
	}
	return m.Data, nil
}

// Pipeline implements peer.Client.
func (c *natsClient) Pipeline(request []byte, more peer.More) (uint64, error) {
	return peer.Parallel(func() (func() error, error) {
		return func() error {
			reply, err := c.Call(request)
			peer.Touch(reply)
			return err
		}, nil
	}, more)
}

// Stream implements peer.Client. The last message of every round is a request,
// whose answer is the tally.
func (c *natsClient) Stream(message []byte, more peer.More) (t peer.Tally, err error) {
	round := uint64(max(1, min(natsRound, natsUnderWay/len(message))))
	for sent := uint64(0); more(sent); sent += round {
		for range round - 1 {
			if err := c.c.Publish(natsTake, message); err != nil {
				return t, err
			}
		}
		b, err := c.request(natsTake, message)
		if err != nil {
			return t, err
		}
		if t, err = peer.ParseTally(b); err != nil {
			return t, err
		}
	}
	return t, nil
}

// Close implements peer.Client.
func (c *natsClient) Close() error {
	c.c.Close()
	return nil
}
