//go:build !nodragonboat && !s390x

package dragonboat

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"time"

	"github.com/cell-runtime/cell/consensus"
)

// Questions are how nodes agree on what groups there are before there is any:
// one frame there, one frame back, on a connection of its own, at the address
// that all else goes to. The answer's first byte says whether it is one.
const (
	maxQuestion = 64 << 10
	answerGood  = 0
	answerBad   = 1
)

// ErrRefused: the other node does not answer that.
var ErrRefused = errors.New("consensus: the other node refuses to answer")

// Ask asks whatever node is at a TCP address and returns who that is and what
// it answers. Security must be set: otherwise nobody knows who answered.
func (h *Host) Ask(ctx context.Context, addr string, question []byte) (consensus.NodeID, []byte, error) {
	if h.o.Security == nil {
		return "", nil, fmt.Errorf("%w: without Security nobody knows who answers", consensus.ErrConfig)
	}
	if len(question) > maxQuestion {
		return "", nil, fmt.Errorf("%w: a question of %d bytes, at most %d", consensus.ErrTooLarge, len(question), maxQuestion)
	}
	ctx, cancel := consensus.WithDefaultDeadline(ctx)
	defer cancel()
	d := net.Dialer{Control: tune}
	raw, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", nil, err
	}
	defer raw.Close()
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	config, err := h.o.Security.Client("")
	if err != nil {
		return "", nil, err
	}
	c := tls.Client(raw, config)
	if err := c.HandshakeContext(ctx); err != nil {
		return "", nil, err
	}
	peer, err := h.o.Security.Peer(c.ConnectionState())
	if err != nil {
		return "", nil, err
	}
	b := preface{kind: kindQuestion, from: string(h.o.Node), to: string(peer)}.append(nil)
	if _, err := c.Write(appendFrame(b, question)); err != nil {
		return peer, nil, err
	}
	answer, err := (&frameReader{r: c}).bounded(maxQuestion + 1)
	if err != nil {
		return peer, nil, err
	}
	if answer[0] != answerGood {
		return peer, nil, fmt.Errorf("%w: node %s: %.300s", ErrRefused, peer, answer[1:])
	}
	return peer, answer[1:], nil
}

// answer answers one question.
func (t *transport) answer(c net.Conn, from consensus.NodeID) error {
	if err := c.SetDeadline(time.Now().Add(writeTime)); err != nil {
		return err
	}
	question, err := newFrameReader(c).bounded(maxQuestion)
	if err != nil {
		return err
	}
	why := ErrRefused
	reply := []byte(nil)
	if t.o.Answer != nil {
		ctx, cancel := context.WithTimeout(t.ctx, writeTime)
		reply, why = t.o.Answer(ctx, from, question)
		cancel()
	}
	b := append([]byte{answerGood}, reply...)
	if why != nil {
		b = append([]byte{answerBad}, why.Error()...)
	}
	if len(b) > maxQuestion+1 {
		return fmt.Errorf("%w: an answer of %d bytes", consensus.ErrTooLarge, len(b))
	}
	_, err = c.Write(appendFrame(nil, b))
	return err
}

// appendFrame appends b as a frame.
func appendFrame(to, b []byte) []byte {
	to = binary.LittleEndian.AppendUint32(to, uint32(len(b)))
	to = binary.LittleEndian.AppendUint32(to, crc32.Checksum(b, castagnoli))
	return append(to, b...)
}

// bounded is next for frames that are short.
func (f *frameReader) bounded(most int) ([]byte, error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(f.r, head[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n == 0 || n > uint32(most) {
		return nil, fmt.Errorf("%w: a length of %d", errFrame, n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(f.r, b); err != nil {
		return nil, err
	}
	if got := crc32.Checksum(b, castagnoli); got != binary.LittleEndian.Uint32(head[4:]) {
		return nil, fmt.Errorf("%w: checksum %08x", errFrame, got)
	}
	return b, nil
}
