package can

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

const patience = time.Minute

// send sends one vesicle, waiting for room.
func send(l link.Sender, h wire.Header, payload []byte) error {
	var v [1]wire.Vesicle
	for end := time.Now().Add(patience); ; {
		_, err := l.Claim(v[:], len(payload))
		if err == nil {
			break
		}
		if !errors.Is(err, link.ErrFull) || time.Now().After(end) {
			return err
		}
		time.Sleep(50 * time.Microsecond)
	}
	copy(v[0].Payload, payload)
	v[0].Header = h
	return errors.Join(l.Commit(v[:]), l.Flush())
}

// receive polls one vesicle, whose payload it copies.
func receive(l link.Receiver) (wire.Vesicle, error) {
	var v [1]wire.Vesicle
	for end := time.Now().Add(patience); ; {
		n, err := l.Poll(v[:])
		if n == 1 {
			v[0].Payload = bytes.Clone(v[0].Payload)
			return v[0], l.Release(1)
		}
		if err == nil && time.Now().After(end) {
			err = errors.New("nothing comes")
		}
		if err != nil {
			return v[0], err
		}
		runtime.Gosched()
	}
}

func numbered(i, size int) []byte {
	b := make([]byte, size)
	for k := range b {
		b[k] = byte(i>>(8*(k%3))) ^ byte(k)
	}
	return b
}

// meshLoad links every node with every other and has all of them send to all
// at once, vesicles of all sizes and priorities.
func meshLoad(t *testing.T, nodes []*Node, each int) {
	t.Helper()
	var conns []*Conn
	for i, a := range nodes {
		for _, b := range nodes[i+1:] {
			x, y := connect(t, a, b)
			conns = append(conns, x, y)
		}
	}
	var wg sync.WaitGroup
	errs := make(chan error, 2*len(conns))
	sizes := []int{0, 3, 7, 8, 60, 200, 1000}
	for i, c := range conns {
		key := 1000*int(c.node.config.Node) + int(c.peer)
		wg.Go(func() {
			for k := range each {
				h := wire.Header{Fingerprint: uint64(key), Kind: wire.KindEvent, Correlation: uint32(k)}
				h.Flags = h.Flags.WithPriority(uint8(k))
				if err := send(c, h, numbered(key+k, sizes[(i+k)%len(sizes)])); err != nil {
					errs <- fmt.Errorf("%d: sending vesicle %d: %w", key, k, err)
					return
				}
			}
		})
		wg.Go(func() {
			from := 1000*int(c.peer) + int(c.node.config.Node)
			for k := range each {
				v, err := receive(c)
				if err != nil {
					errs <- fmt.Errorf("%d: vesicle %d: %w", from, k, err)
					return
				}
				if v.Header.Fingerprint != uint64(from) || v.Header.Correlation != uint32(k) ||
					!bytes.Equal(v.Payload, numbered(from+k, len(v.Payload))) {
					errs <- fmt.Errorf("from %d: vesicle %d is %+v", from, k, v.Header)
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	for _, c := range conns {
		c.Close()
	}
}
