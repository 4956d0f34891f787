package adapter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"storj.io/drpc"
	"storj.io/drpc/drpcconn"
	"storj.io/drpc/drpcmanager"
	"storj.io/drpc/drpcserver"
	"storj.io/drpc/drpcwire"

	"github.com/cell-runtime/cell/perf/peers/internal/peer"
)

var drpcAdapter = peer.Adapter{
	Name: "drpc", Family: peer.RPC, Module: "storj.io/drpc",
	About: "drpc with protobuf over a unix socket; a connection carries one call at a time, so pipelines have 64 of them",
	Works: everything,
	Serve: func(set peer.Setting) (peer.Server, error) {
		s := drpcserver.NewWithOptions(drpcPeer{}, drpcserver.Options{Manager: drpcOptions})
		return listenUnix(set.Dir, func(c *net.UnixConn) {
			// Its end is the client's to report.
			_ = s.ServeOne(context.Background(), c)
		})
	},
	Dial: func(_ peer.Setting, addr string) (peer.Client, error) {
		c, err := dialDRPC(addr)
		if err != nil {
			return nil, err
		}
		return &drpcClient{addr: addr, c: c}, nil
	},
}

var drpcOptions = drpcmanager.Options{Reader: drpcwire.ReaderOptions{MaximumBufferSize: largestRPC}}

// protobuf is the encoding that drpc's generator emits.
type protobuf struct{}

// Marshal implements drpc.Encoding.
func (protobuf) Marshal(m drpc.Message) ([]byte, error) { return proto.Marshal(m.(proto.Message)) }

// MarshalAppend is what drpc uses in its place where there is one.
func (protobuf) MarshalAppend(b []byte, m drpc.Message) ([]byte, error) {
	return proto.MarshalOptions{}.MarshalAppend(b, m.(proto.Message))
}

// Unmarshal implements drpc.Encoding.
func (protobuf) Unmarshal(b []byte, m drpc.Message) error {
	return proto.Unmarshal(b, m.(proto.Message))
}

const (
	drpcEcho = "/cell.perf.Peer/Echo"
	drpcTake = "/cell.perf.Peer/Take"
)

// drpcPeer dispatches as drpc's mux does, without its reflection.
type drpcPeer struct{}

// HandleRPC implements drpc.Handler.
func (drpcPeer) HandleRPC(s drpc.Stream, rpc string) error {
	m := new(wrapperspb.BytesValue)
	switch rpc {
	case drpcEcho:
		if err := s.MsgRecv(m, protobuf{}); err != nil {
			return err
		}
		return errors.Join(s.MsgSend(m, protobuf{}), s.CloseSend())
	case drpcTake:
		var t peer.Tally
		for {
			err := s.MsgRecv(m, protobuf{})
			if errors.Is(err, io.EOF) {
				return errors.Join(s.MsgSend(wrapperspb.Bytes(t.Append(nil)), protobuf{}), s.CloseSend())
			}
			if err != nil {
				return err
			}
			t.Add(m.Value)
		}
	}
	return fmt.Errorf("no method %q", rpc)
}

type drpcClient struct {
	addr string
	c    *drpcconn.Conn
	more []*drpcconn.Conn // of a pipeline
}

func dialDRPC(addr string) (*drpcconn.Conn, error) {
	c, err := dialUnixConn(addr)
	if err != nil {
		return nil, err
	}
	return drpcconn.NewWithOptions(c, drpcconn.Options{Manager: drpcOptions}), nil
}

func callDRPC(c *drpcconn.Conn, request []byte) ([]byte, error) {
	reply := new(wrapperspb.BytesValue)
	err := c.Invoke(context.Background(), drpcEcho, protobuf{}, wrapperspb.Bytes(request), reply)
	return reply.Value, err
}

// Call implements peer.Client.
func (c *drpcClient) Call(request []byte) ([]byte, error) { return callDRPC(c.c, request) }

// Pipeline implements peer.Client.
func (c *drpcClient) Pipeline(request []byte, more peer.More) (uint64, error) {
	return peer.Parallel(func() (func() error, error) {
		conn, err := dialDRPC(c.addr)
		if err != nil {
			return nil, err
		}
		c.more = append(c.more, conn)
		return func() error {
			reply, err := callDRPC(conn, request)
			peer.Touch(reply)
			return err
		}, nil
	}, more)
}

// Stream implements peer.Client.
func (c *drpcClient) Stream(message []byte, more peer.More) (t peer.Tally, err error) {
	s, err := c.c.NewStream(context.Background(), drpcTake, protobuf{})
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	m := wrapperspb.Bytes(message)
	for n := uint64(0); more(n); n++ {
		if err := s.MsgSend(m, protobuf{}); err != nil {
			return t, err
		}
	}
	if err := s.CloseSend(); err != nil {
		return t, err
	}
	reply := new(wrapperspb.BytesValue)
	if err := s.MsgRecv(reply, protobuf{}); err != nil {
		return t, err
	}
	return peer.ParseTally(reply.Value)
}

// Close implements peer.Client.
func (c *drpcClient) Close() error {
	err := c.c.Close()
	for _, conn := range c.more {
		err = errors.Join(err, conn.Close())
	}
	return err
}
