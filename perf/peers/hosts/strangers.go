package main

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/quic"
)

// strangersAtOnce is how many handshakes from one address a server has under way.
const strangersAtOnce = 32

// strangers shake hands with a key that the server doesn't know. In TLS 1.3 a
// client may send as soon as its own half of the handshake is done, before the
// server has looked at its key: each sends what it can until it is thrown out, and
// comes again.
func strangers(addr string, send func(*quicgo.Conn)) error {
	at, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return err
	}
	s, err := newSide(9, serverKey)
	if err != nil {
		return err
	}
	cfg := identity.ClientTLS(s.credentials, s.trust, key(serverKey).ID(), quic.ALPN)
	var all sync.WaitGroup
	for range strangersAtOnce {
		all.Go(func() {
			for {
				if err := intrude(at, cfg, send); err != nil {
					time.Sleep(10 * time.Millisecond)
				}
			}
		})
	}
	all.Wait()
	return nil
}

// intrude is one stranger's attempt.
func intrude(at *net.UDPAddr, cfg *tls.Config, send func(*quicgo.Conn)) error {
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: elsewhere})
	if err != nil {
		return err
	}
	defer socket.Close()
	t := &quicgo.Transport{Conn: socket}
	defer t.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c, err := t.Dial(ctx, at, cfg, &quicgo.Config{EnableDatagrams: true})
	if err != nil {
		return err
	}
	send(c)
	return c.CloseWithError(0, "")
}

// sendStreams opens as many streams as are granted, and fills all of them.
func sendStreams(c *quicgo.Conn) {
	junk := make([]byte, 16<<10)
	var all sync.WaitGroup
	defer all.Wait()
	for {
		s, err := c.OpenUniStreamSync(c.Context())
		if err != nil {
			return
		}
		all.Go(func() {
			for {
				if _, err := s.Write(junk); err != nil {
					return
				}
			}
		})
	}
}

// sendDatagrams sends datagrams as fast as they are taken.
func sendDatagrams(c *quicgo.Conn) {
	junk := make([]byte, 1000)
	for c.SendDatagram(junk) == nil {
	}
}
