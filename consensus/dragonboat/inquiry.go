//go:build !nodragonboat && !s390x

package dragonboat

import (
	"context"
	"encoding/binary"
	"net"
	"time"
)

// An inquiry asks a node whether a replica of a group is on another one, by what its
// own replica has applied; see [roster]. Question: the group u64, the replica u64,
// the node's id. Answer: 1 if so, else 0.

const inquiryHead = 16

// askAbout is [roster.ask]. Who can't be asked vouches for nobody.
func (t *transport) askAbout(ctx context.Context, node string, q claim) bool {
	c, err := t.dial(ctx, node, kindInquiry)
	if err != nil {
		return false
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	b := binary.LittleEndian.AppendUint64(nil, q.shard)
	b = binary.LittleEndian.AppendUint64(b, q.replica)
	if _, err := c.Write(appendFrame(nil, append(b, q.node...))); err != nil {
		return false
	}
	answer, err := newFrameReader(c).bounded(1)
	return err == nil && answer[0] == 1
}

// answerInquiry answers one.
func (t *transport) answerInquiry(c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(handshakeTime)); err != nil {
		return err
	}
	b, err := newFrameReader(c).bounded(inquiryHead + maxNodeID)
	if err != nil {
		return err
	}
	if len(b) <= inquiryHead {
		return errFrame
	}
	answer := []byte{0}
	if t.o.roster.vouches(claim{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]), string(b[inquiryHead:])}) {
		answer[0] = 1
	}
	_, err = c.Write(appendFrame(nil, answer))
	return err
}
