package adapter

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/cell-runtime/cell/perf/peers/internal/peer"
)

// largestRPC lifts the products' bounds of 4 MiB for what is measured here.
const largestRPC = peer.MaxSize + 1024

var grpcAdapter = peer.Adapter{
	Name: "grpc-go", Family: peer.RPC, Module: "google.golang.org/grpc",
	About: "grpc-go with protobuf over a unix socket, no TLS; streams are one client stream",
	Works: everything,
	Serve: serveGRPC, Dial: dialGRPC,
}

// grpcMethods is what protoc would generate for
//
//	service Peer {
//	  rpc Echo(google.protobuf.BytesValue) returns (google.protobuf.BytesValue);
//	  rpc Take(stream google.protobuf.BytesValue) returns (google.protobuf.BytesValue);
//	}
var grpcMethods = grpc.ServiceDesc{
	ServiceName: "cell.perf.Peer",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "Echo", Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		m := new(wrapperspb.BytesValue)
		return m, decode(m)
	}}},
	Streams: []grpc.StreamDesc{{StreamName: "Take", ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
		var t peer.Tally
		m := new(wrapperspb.BytesValue)
		for {
			err := s.RecvMsg(m)
			if errors.Is(err, io.EOF) {
				return s.SendMsg(wrapperspb.Bytes(t.Append(nil)))
			}
			if err != nil {
				return err
			}
			t.Add(m.Value)
		}
	}}},
}

type grpcServer struct {
	s    *grpc.Server
	addr string
	done chan error
}

func serveGRPC(set peer.Setting) (peer.Server, error) {
	l, err := net.Listen("unix", filepath.Join(set.Dir, "s"))
	if err != nil {
		return nil, err
	}
	s := &grpcServer{s: grpc.NewServer(grpc.MaxRecvMsgSize(largestRPC)), addr: l.Addr().String(), done: make(chan error, 1)}
	s.s.RegisterService(&grpcMethods, nil)
	go func() { s.done <- s.s.Serve(l) }()
	return s, nil
}

// Addr implements peer.Server.
func (s *grpcServer) Addr() string { return s.addr }

// Close implements peer.Server.
func (s *grpcServer) Close() error {
	s.s.Stop()
	if err := <-s.done; !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

type grpcClient struct{ c *grpc.ClientConn }

func dialGRPC(_ peer.Setting, addr string) (peer.Client, error) {
	c, err := grpc.NewClient("unix://"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(largestRPC)))
	if err != nil {
		return nil, err
	}
	return &grpcClient{c}, nil
}

// Call implements peer.Client.
func (c *grpcClient) Call(request []byte) ([]byte, error) {
	reply := new(wrapperspb.BytesValue)
	err := c.c.Invoke(context.Background(), "/cell.perf.Peer/Echo", wrapperspb.Bytes(request), reply)
	return reply.Value, err
}

// Pipeline implements peer.Client.
func (c *grpcClient) Pipeline(request []byte, more peer.More) (uint64, error) {
	return peer.Parallel(func() (func() error, error) {
		return func() error {
			reply, err := c.Call(request)
			peer.Touch(reply)
			return err
		}, nil
	}, more)
}

// Stream implements peer.Client.
func (c *grpcClient) Stream(message []byte, more peer.More) (peer.Tally, error) {
	s, err := c.c.NewStream(context.Background(), &grpc.StreamDesc{ClientStreams: true}, "/cell.perf.Peer/Take")
	if err != nil {
		return peer.Tally{}, err
	}
	m := wrapperspb.Bytes(message)
	for n := uint64(0); more(n); n++ {
		if err := s.SendMsg(m); err != nil {
			return peer.Tally{}, err
		}
	}
	if err := s.CloseSend(); err != nil {
		return peer.Tally{}, err
	}
	reply := new(wrapperspb.BytesValue)
	if err := s.RecvMsg(reply); err != nil {
		return peer.Tally{}, err
	}
	return peer.ParseTally(reply.Value)
}

// Close implements peer.Client.
func (c *grpcClient) Close() error { return c.c.Close() }
