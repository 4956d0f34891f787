package adapter

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"go.nanomsg.org/mangos/v3"
	"go.nanomsg.org/mangos/v3/protocol/pull"
	"go.nanomsg.org/mangos/v3/protocol/push"
	"go.nanomsg.org/mangos/v3/protocol/rep"
	"go.nanomsg.org/mangos/v3/protocol/req"
	_ "go.nanomsg.org/mangos/v3/transport/ipc" // registers ipc://

	"github.com/cell-runtime/cell/perf/peers/internal/peer"
)

var mangosAdapter = peer.Adapter{
	Name: "mangos", Family: peer.Messaging, Module: "go.nanomsg.org/mangos/v3",
	About: "mangos (nanomsg in Go) over ipc: req and rep, in pipelines with 64 contexts; streams are push and pull",
	Works: everything,
	Serve: serveMangos, Dial: dialMangos,
}

// mangosContexts is how many requests the server answers at once in a pipeline.
const mangosContexts = 8

type mangosServer struct {
	addr    string
	sockets []mangos.Socket
	workers sync.WaitGroup
}

func openMangos(open func() (mangos.Socket, error), connect func(mangos.Socket) error) (mangos.Socket, error) {
	s, err := open()
	if err != nil {
		return nil, err
	}
	// 0 means any; the default is 1 MiB.
	if err := errors.Join(s.SetOption(mangos.OptionMaxRecvSize, 0), connect(s)); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func serveMangos(set peer.Setting) (peer.Server, error) {
	s := &mangosServer{addr: "ipc://" + filepath.Join(set.Dir, "s")}
	replies, err := openMangos(rep.NewSocket, func(m mangos.Socket) error { return m.Listen(s.addr) })
	if err != nil {
		return nil, err
	}
	s.sockets = []mangos.Socket{replies}
	if set.Work == peer.Stream {
		pulls, err := openMangos(pull.NewSocket, func(m mangos.Socket) error { return m.Listen(s.addr + "p") })
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.sockets = append(s.sockets, pulls)
		s.workers.Go(func() { takeMangos(pulls, replies) })
		return s, nil
	}
	contexts := 1
	if set.Work == peer.Pipelined {
		contexts = mangosContexts
	}
	for range contexts {
		c, err := replies.OpenContext()
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.workers.Go(func() {
			for {
				m, err := c.RecvMsg()
				if err != nil {
					return // closed
				}
				if c.SendMsg(m) != nil {
					m.Free()
				}
			}
		})
	}
	return s, nil
}

// takeMangos counts messages up to an empty one and answers one request with
// the tally.
func takeMangos(pulls, replies mangos.Socket) {
	var t peer.Tally
	for {
		m, err := pulls.RecvMsg()
		if err != nil {
			return // closed
		}
		if len(m.Body) == 0 {
			m.Free()
			break
		}
		t.Add(m.Body)
		m.Free()
	}
	if _, err := replies.Recv(); err == nil {
		_ = replies.Send(t.Append(nil)) // the client waits for it, or is gone
	}
}

// Addr implements peer.Server.
func (s *mangosServer) Addr() string { return s.addr }

// Close implements peer.Server.
func (s *mangosServer) Close() (err error) {
	for _, m := range s.sockets {
		err = errors.Join(err, m.Close())
	}
	s.workers.Wait()
	return err
}

type mangosClient struct {
	addr     string
	requests mangos.Socket
	reply    *mangos.Message
}

func dialMangos(_ peer.Setting, addr string) (peer.Client, error) {
	s, err := openMangos(req.NewSocket, func(m mangos.Socket) error { return m.Dial(addr) })
	if err != nil {
		return nil, err
	}
	return &mangosClient{addr: addr, requests: s}, nil
}

// exchanger is a socket or a context of one.
type exchanger interface {
	SendMsg(*mangos.Message) error
	RecvMsg() (*mangos.Message, error)
}

func callMangos(x exchanger, request []byte) (*mangos.Message, error) {
	m := mangos.NewMessage(len(request))
	m.Body = append(m.Body, request...)
	if err := x.SendMsg(m); err != nil {
		m.Free()
		return nil, err
	}
	return x.RecvMsg()
}

// Call implements peer.Client.
func (c *mangosClient) Call(request []byte) ([]byte, error) {
	if c.reply != nil {
		c.reply.Free()
		c.reply = nil
	}
	m, err := callMangos(c.requests, request)
	if err != nil {
		return nil, err
	}
	c.reply = m
	return m.Body, nil
}

// Pipeline implements peer.Client.
func (c *mangosClient) Pipeline(request []byte, more peer.More) (uint64, error) {
	return peer.Parallel(func() (func() error, error) {
		x, err := c.requests.OpenContext() // closed with the socket
		if err != nil {
			return nil, err
		}
		return func() error {
			m, err := callMangos(x, request)
			if err != nil {
				return err
			}
			peer.Touch(m.Body)
			m.Free()
			return nil
		}, nil
	}, more)
}

// Stream implements peer.Client.
func (c *mangosClient) Stream(message []byte, more peer.More) (t peer.Tally, err error) {
	s, err := openMangos(push.NewSocket, func(m mangos.Socket) error { return m.Dial(c.addr + "p") })
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	send := func(b []byte) error {
		m := mangos.NewMessage(len(b))
		m.Body = append(m.Body, b...)
		return s.SendMsg(m)
	}
	for n := uint64(0); more(n); n++ {
		if err := send(message); err != nil {
			return t, err
		}
	}
	if err := send(nil); err != nil {
		return t, fmt.Errorf("ending the stream: %w", err)
	}
	b, err := c.Call(nil)
	if err != nil {
		return t, err
	}
	return peer.ParseTally(b)
}

// Close implements peer.Client.
func (c *mangosClient) Close() error { return c.requests.Close() }
