package adapter

import (
	"net"
	"net/rpc"

	"github.com/cell-runtime/cell/perf/peers/internal/peer"
)

var netRPC = peer.Adapter{
	Name: "net/rpc", Family: peer.RPC,
	About: "the standard library's net/rpc with gob over a unix socket; streams are calls with an empty reply, 64 under way",
	Works: everything,
	Serve: func(set peer.Setting) (peer.Server, error) {
		s := rpc.NewServer()
		if err := s.RegisterName("Peer", new(NetRPCService)); err != nil {
			return nil, err
		}
		return listenUnix(set.Dir, func(c *net.UnixConn) { s.ServeConn(c) })
	},
	Dial: func(set peer.Setting, addr string) (peer.Client, error) {
		c, err := dialUnixConn(addr)
		if err != nil {
			return nil, err
		}
		return &netRPCClient{c: rpc.NewClient(c)}, nil
	},
}

// NetRPCMessage is request and reply.
type NetRPCMessage struct{ Body []byte }

// NetRPCService has the methods that net/rpc finds by reflection, which is why
// it is exported.
type NetRPCService struct{ tally sharedTally }

// Echo answers with the request.
func (*NetRPCService) Echo(request *NetRPCMessage, reply *NetRPCMessage) error {
	reply.Body = request.Body
	return nil
}

// Take counts a message.
func (s *NetRPCService) Take(message *NetRPCMessage, _ *struct{}) error {
	s.tally.add(message.Body)
	return nil
}

// Tally answers with what Take counted.
func (s *NetRPCService) Tally(_ *struct{}, reply *NetRPCMessage) error {
	reply.Body = s.tally.get().Append(nil)
	return nil
}

type netRPCClient struct{ c *rpc.Client }

// Call implements peer.Client.
func (c *netRPCClient) Call(request []byte) ([]byte, error) {
	var reply NetRPCMessage
	err := c.c.Call("Peer.Echo", &NetRPCMessage{request}, &reply)
	return reply.Body, err
}

// Pipeline implements peer.Client by net/rpc's own way, Go.
func (c *netRPCClient) Pipeline(request []byte, more peer.More) (uint64, error) {
	return c.inFlight("Peer.Echo", request, func() any { return new(NetRPCMessage) }, more)
}

// inFlight keeps a window of asynchronous calls under way.
func (c *netRPCClient) inFlight(method string, request []byte, newReply func() any, more peer.More) (done uint64, err error) {
	answers := make(chan *rpc.Call, peer.Window)
	m := &NetRPCMessage{request}
	for range peer.Window {
		c.c.Go(method, m, newReply(), answers)
	}
	for under := peer.Window; under > 0; {
		a := <-answers
		under--
		if a.Error != nil {
			return done, a.Error
		}
		if r, ok := a.Reply.(*NetRPCMessage); ok {
			peer.Touch(r.Body)
		}
		if done++; err == nil && more(done) {
			c.c.Go(method, m, newReply(), answers)
			under++
		}
	}
	return done, nil
}

// Stream implements peer.Client.
func (c *netRPCClient) Stream(message []byte, more peer.More) (peer.Tally, error) {
	if _, err := c.inFlight("Peer.Take", message, func() any { return new(struct{}) }, more); err != nil {
		return peer.Tally{}, err
	}
	var reply NetRPCMessage
	if err := c.c.Call("Peer.Tally", new(struct{}), &reply); err != nil {
		return peer.Tally{}, err
	}
	return peer.ParseTally(reply.Body)
}

// Close implements peer.Client.
func (c *netRPCClient) Close() error { return c.c.Close() }
