package main

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/cell-runtime/cell/identity"
)

// What is bare speaks the least there can be: on a stream that begins with 'c',
// messages of 64 bytes are sent back; on one that begins with 'b', bytes are
// counted until the end, and the count is the answer.
const (
	bareALPN  = "hosts"
	bareCalls = 'c'
	bareBulk  = 'b'
	callSize  = 64
	bulkPiece = 64 << 10
)

// stream is one of either kind.
type stream interface {
	io.ReadWriter
	endWriting() error
}

func answer(s stream) {
	kind := make([]byte, 1)
	if _, err := io.ReadFull(s, kind); err != nil {
		return
	}
	if kind[0] == bareBulk {
		n, _ := io.CopyBuffer(io.Discard, struct{ io.Reader }{s}, make([]byte, bulkPiece))
		_, _ = s.Write(binary.LittleEndian.AppendUint64(nil, uint64(n)))
		_ = s.endWriting()
		return
	}
	b := make([]byte, callSize)
	for {
		if _, err := io.ReadFull(s, b); err != nil {
			return
		}
		if _, err := s.Write(b); err != nil {
			return
		}
	}
}

// bare makes calls over streams that last, one for each caller under way.
type bare struct {
	openStream func() (stream, error)
	shut       func()
	parallel   int

	mu   sync.Mutex
	free []stream
}

func (b *bare) call() error {
	b.mu.Lock()
	var s stream
	if n := len(b.free); n > 0 {
		s, b.free = b.free[n-1], b.free[:n-1]
	}
	b.mu.Unlock()
	if s == nil {
		var err error
		if s, err = b.openStream(); err != nil {
			return err
		}
		if _, err := s.Write([]byte{bareCalls}); err != nil {
			return err
		}
	}
	var m [callSize]byte
	if _, err := s.Write(m[:]); err != nil {
		return err
	}
	if _, err := io.ReadFull(s, m[:]); err != nil {
		return err
	}
	b.mu.Lock()
	b.free = append(b.free, s)
	b.mu.Unlock()
	return nil
}

func (b *bare) bulk(d time.Duration) (int64, error) {
	var mu sync.Mutex
	var total int64
	var failed error
	var all sync.WaitGroup
	for range b.parallel {
		all.Go(func() {
			n, err := b.bulkOnce(d)
			mu.Lock()
			defer mu.Unlock()
			total += n
			failed = errors.Join(failed, err)
		})
	}
	all.Wait()
	return total, failed
}

func (b *bare) bulkOnce(d time.Duration) (int64, error) {
	s, err := b.openStream()
	if err != nil {
		return 0, err
	}
	if _, err := s.Write([]byte{bareBulk}); err != nil {
		return 0, err
	}
	piece := make([]byte, bulkPiece)
	for end := time.Now().Add(d); time.Now().Before(end); {
		if _, err := s.Write(piece); err != nil {
			return 0, err
		}
	}
	if err := s.endWriting(); err != nil {
		return 0, err
	}
	var count [8]byte
	if _, err := io.ReadFull(s, count[:]); err != nil {
		return 0, err
	}
	return int64(binary.LittleEndian.Uint64(count[:])), nil
}

func (b *bare) close() { b.shut() }

type quicStream struct{ *quicgo.Stream }

func (s quicStream) endWriting() error { return s.Close() }

type tlsStream struct{ *tls.Conn }

func (s tlsStream) endWriting() error { return s.CloseWrite() }

var bareConfig = &quicgo.Config{MaxIncomingStreams: 1000, MaxIdleTimeout: time.Minute, KeepAlivePeriod: 10 * time.Second}

func (s *side) serveBareQUIC(addr string) error {
	l, err := quicgo.ListenAddr(addr, identity.ServerTLS(s.credentials, s.trust, bareALPN), bareConfig)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept(context.Background())
			if err != nil {
				return
			}
			go func() {
				for {
					st, err := c.AcceptStream(context.Background())
					if err != nil {
						return
					}
					go answer(quicStream{st})
				}
			}()
		}
	}()
	return nil
}

func openBareQUIC(ctx context.Context, s *side, p plan) (target, error) {
	var conns []*quicgo.Conn
	for range max(p.connections, 1) {
		c, err := quicgo.DialAddr(ctx, join(p.host, p.port+portBareQUIC), identity.ClientTLS(s.credentials, s.trust, key(serverKey).ID(), bareALPN), bareConfig)
		if err != nil {
			return nil, err
		}
		conns = append(conns, c)
	}
	next := 0
	var mu sync.Mutex
	return &bare{
		parallel: len(conns),
		openStream: func() (stream, error) {
			mu.Lock()
			c := conns[next%len(conns)]
			next++
			mu.Unlock()
			st, err := c.OpenStreamSync(ctx)
			return quicStream{st}, err
		},
		shut: func() {
			for _, c := range conns {
				_ = c.CloseWithError(0, "")
			}
		},
	}, nil
}

func (s *side) serveBareTLS(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = s.setCongestion(c)
			go answer(tlsStream{tls.Server(c, identity.ServerTLS(s.credentials, s.trust, bareALPN))})
		}
	}()
	return nil
}

func openBareTLS(_ context.Context, s *side, p plan) (target, error) {
	cfg := identity.ClientTLS(s.credentials, s.trust, key(serverKey).ID(), bareALPN)
	var mu sync.Mutex
	var all []net.Conn
	return &bare{
		parallel: 1,
		openStream: func() (stream, error) {
			c, err := net.Dial("tcp", join(p.host, p.bareTLS()))
			if err != nil {
				return nil, err
			}
			mu.Lock()
			all = append(all, c)
			mu.Unlock()
			return tlsStream{tls.Client(c, cfg)}, s.setCongestion(c)
		},
		shut: func() {
			for _, c := range all {
				_ = c.Close()
			}
		},
	}, nil
}
