package main

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"

	"go.etcd.io/raft/v3/raftpb"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
)

// etcdLog is a write-ahead log for etcd's Raft, which brings none: records of
// a length, a CRC-32C and a protobuf, in a file whose space is taken beforehand,
// so that fdatasync(2) has no size to write. It is never read: no measurement
// restarts a replica.
type etcdLog struct {
	f     *os.File
	at    int64
	taken int64
	b     []byte
}

const takeAtOnce = 64 << 20

func newEtcdLog(dir string) (*etcdLog, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.Create(filepath.Join(dir, "log"))
	return &etcdLog{f: f}, err
}

var crcTable = crc32.MakeTable(crc32.Castagnoli)

func (l *etcdLog) add(m proto.Message) error {
	head := len(l.b)
	l.b = append(l.b, make([]byte, 8)...)
	var err error
	if l.b, err = (proto.MarshalOptions{}).MarshalAppend(l.b, m); err != nil {
		return err
	}
	body := l.b[head+8:]
	binary.LittleEndian.PutUint32(l.b[head:], uint32(len(body)))
	binary.LittleEndian.PutUint32(l.b[head+4:], crc32.Checksum(body, crcTable))
	return nil
}

// save writes what a Ready has, and makes it durable if it must be.
func (l *etcdLog) save(h *raftpb.HardState, entries []*raftpb.Entry, must bool) error {
	l.b = l.b[:0]
	for _, e := range entries {
		if err := l.add(e); err != nil {
			return err
		}
	}
	if h != nil {
		if err := l.add(h); err != nil {
			return err
		}
	}
	if len(l.b) == 0 {
		return nil
	}
	for l.at+int64(len(l.b)) > l.taken {
		if err := unix.Fallocate(int(l.f.Fd()), 0, l.taken, takeAtOnce); err != nil {
			return err
		}
		l.taken += takeAtOnce
	}
	if _, err := l.f.WriteAt(l.b, l.at); err != nil {
		return err
	}
	l.at += int64(len(l.b))
	if !must {
		return nil
	}
	return unix.Fdatasync(int(l.f.Fd()))
}

func (l *etcdLog) close() error { return l.f.Close() }
