//go:build !nodragonboat && !s390x

package dragonboat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/dragonboat/v4/raftpb"
	"golang.org/x/sys/unix"
)

// A connection begins with a preface, and then has frames, one way only:
//
//	preface: "CELLRAFT" version u8, kind u8 (1 messages, 2 a snapshot,
//	         3 a question, which is answered by one frame the other way, 4 beats,
//	         which are bytes without meaning instead of frames, 5 an inquiry, which
//	         is answered by one frame),
//	         length u8 and id of the sender, length u8 and id of the receiver
//	frame:   length u32, CRC-32C u32, payload (a protobuf of dragonboat's)
//
// Numbers are little endian.
const (
	prefaceMagic   = "CELLRAFT"
	prefaceVersion = 1
	kindMessages   = 1
	kindSnapshot   = 2
	kindQuestion   = 3
	kindBeats      = 4
	kindInquiry    = 5
	frameHead      = 8
	// maxFrame is above what dragonboat puts into one message (64 MiB).
	maxFrame = 80 << 20
	// keptBuffer is the most memory that a quiet connection keeps.
	keptBuffer = 256 << 10
)

var (
	errPreface = errors.New("no preface of this protocol")
	errFrame   = errors.New("a damaged frame")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// preface says who talks to whom about what.
type preface struct {
	kind     byte
	from, to string
}

func (p preface) append(b []byte) []byte {
	b = append(append(b, prefaceMagic...), prefaceVersion, p.kind)
	b = append(append(b, byte(len(p.from))), p.from...)
	return append(append(b, byte(len(p.to))), p.to...)
}

func readPreface(r io.Reader) (p preface, err error) {
	var head [len(prefaceMagic) + 2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return p, err
	}
	version, kind := head[len(prefaceMagic)], head[len(prefaceMagic)+1]
	switch {
	case string(head[:len(prefaceMagic)]) != prefaceMagic:
		return p, errPreface
	case version != prefaceVersion:
		return p, fmt.Errorf("%w: version %d, this node speaks %d", errPreface, version, prefaceVersion)
	case kind < kindMessages || kind > kindInquiry:
		return p, fmt.Errorf("%w: kind %d", errPreface, kind)
	}
	p.kind = kind
	if p.from, err = readID(r); err != nil {
		return p, err
	}
	p.to, err = readID(r)
	return p, err
}

func readID(r io.Reader) (string, error) {
	var b [256]byte
	if _, err := io.ReadFull(r, b[:1]); err != nil {
		return "", err
	}
	id := b[1 : 1+int(b[0])]
	if _, err := io.ReadFull(r, id); err != nil {
		return "", err
	}
	if !validNode(string(id)) {
		return "", fmt.Errorf("%w: a node's id %q", errPreface, id)
	}
	return string(id), nil
}

// tune sets a dialled socket's options.
func tune(_, _ string, raw syscall.RawConn) error {
	var err error
	control := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silence/time.Millisecond))
	})
	return errors.Join(control, err)
}

// frameWriter sends frames. One goroutine at a time uses it.
type frameWriter struct {
	c net.Conn
	b []byte
}

func (w *frameWriter) Close() { w.c.Close() }

func (w *frameWriter) SendMessageBatch(m raftpb.MessageBatch) error {
	return w.send(&m, m.SizeUpperLimit())
}
func (w *frameWriter) SendChunk(c raftpb.Chunk) error { return w.send(&c, c.Size()) }

func (w *frameWriter) send(m interface{ MarshalTo([]byte) (int, error) }, size int) error {
	if cap(w.b) < frameHead+size {
		w.b = make([]byte, frameHead+size)
	}
	b := w.b[:frameHead+size]
	n, err := m.MarshalTo(b[frameHead:])
	if err != nil {
		return err
	}
	b = b[:frameHead+n]
	binary.LittleEndian.PutUint32(b, uint32(n))
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[frameHead:], castagnoli))
	if err := w.c.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return err
	}
	_, err = w.c.Write(b)
	if cap(w.b) > keptBuffer {
		w.b = nil
	}
	return err
}

// frameReader receives frames. What it allocates grows with what has arrived.
type frameReader struct {
	r io.Reader
	b bytes.Buffer
}

func newFrameReader(r io.Reader) *frameReader { return &frameReader{r: r} }

// next returns a frame's payload, valid until the next call.
func (f *frameReader) next() ([]byte, error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(f.r, head[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n == 0 || n > maxFrame {
		return nil, fmt.Errorf("%w: a length of %d", errFrame, n)
	}
	if f.b.Cap() > keptBuffer {
		f.b = bytes.Buffer{}
	}
	f.b.Reset()
	if _, err := io.CopyN(&f.b, f.r, int64(n)); err != nil {
		return nil, err
	}
	if got := crc32.Checksum(f.b.Bytes(), castagnoli); got != binary.LittleEndian.Uint32(head[4:]) {
		return nil, fmt.Errorf("%w: checksum %08x", errFrame, got)
	}
	return f.b.Bytes(), nil
}

// receiveBatch passes on one frame of messages, if they are from the peer.
func (f *frameReader) receiveBatch(from string, handle func(raftpb.MessageBatch) error) error {
	b, err := f.next()
	if err != nil {
		return err
	}
	var m raftpb.MessageBatch
	if err := unmarshal(m.Unmarshal, b); err != nil {
		return err
	}
	if m.SourceAddress != from {
		return fmt.Errorf("%w: node %s sends messages of %s", errFrame, from, m.SourceAddress)
	}
	for i := range m.Requests {
		if !travels(&m.Requests[i]) {
			return fmt.Errorf("%w: node %s sends a message of kind %v to replica %d, which none does", errFrame, from, m.Requests[i].Type, m.Requests[i].To)
		}
	}
	return handle(m)
}

// travels reports whether a message is of a kind that nodes send each other. On
// the others, which a replica sends itself, dragonboat ends the process, or
// would do as they say.
func travels(m *raftpb.Message) bool {
	switch m.Type {
	case raftpb.Election, raftpb.LeaderHeartbeat, raftpb.Unreachable, raftpb.SnapshotStatus, raftpb.CheckQuorum,
		raftpb.LocalTick, raftpb.BatchedReadIndex, raftpb.InstallSnapshot, raftpb.ConfigChangeEvent, raftpb.LogQuery:
		return false
	}
	return m.To != 0
}

// receiveChunk passes on one piece of a snapshot, if its node may speak for who sends it.
func (f *frameReader) receiveChunk(from string, r *roster, handle raftio.ChunkHandler) error {
	b, err := f.next()
	if err != nil {
		return err
	}
	var c raftpb.Chunk
	if err := unmarshal(c.Unmarshal, b); err != nil {
		return err
	}
	if r != nil {
		if ok, err := r.admits(claim{c.ShardID, c.From, from}, c.ReplicaID); err != nil {
			return err
		} else if !ok {
			return fmt.Errorf("node %s sends a snapshot as replica %d of group %016x, of which this node does not know", from, c.From, c.ShardID)
		}
	}
	if !handle(c) {
		return fmt.Errorf("a piece of a snapshot of group %x was refused", c.ShardID)
	}
	return nil
}

// unmarshal contains decoders that were not written for hostile input.
func unmarshal(decode func([]byte) error, b []byte) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", errFrame, r)
		}
	}()
	if err := decode(b); err != nil {
		return fmt.Errorf("%w: %w", errFrame, err)
	}
	return nil
}
