package xsk

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// QueueSet is a socket for each of several queues of one interface, over one
// Umem.
type QueueSet struct {
	Umem    *Umem
	Sockets []*Socket
}

// OpenQueues takes memory and opens a socket on each queue. c.Queue, c.FD and
// c.Share are set here; only the first queue's socket has a tx ring. What is in
// c.FDs is the set's from then on.
func OpenQueues(o UmemOptions, c Config, queues []uint32) (set *QueueSet, err error) {
	handed := c.FDs
	defer func() {
		if err != nil {
			for _, fd := range handed {
				_ = unix.Close(fd) // never used
			}
		}
	}()
	if len(queues) == 0 || len(handed) > 0 && len(handed) != len(queues) {
		return nil, fmt.Errorf("xsk: a set of %d queues, for which %d sockets were handed over; it needs one queue at least, and a socket for each or none", len(queues), len(handed))
	}
	u, err := NewUmem(o)
	if err != nil {
		return nil, err
	}
	q := &QueueSet{Umem: u}
	for i, id := range queues {
		c.Queue = id
		if len(handed) > 0 {
			c.FD, handed = handed[0], handed[1:]
		}
		if i == 1 {
			c.Share, c.Tx = q.Sockets[0], 0
		}
		s, err := Open(u, c)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("xsk: queue %d: %w", id, err), q.Close())
		}
		q.Sockets = append(q.Sockets, s)
	}
	return q, nil
}

// Stats adds up those of all sockets.
func (q *QueueSet) Stats() (sum Stats, err error) {
	for _, s := range q.Sockets {
		k, e := s.Stats()
		err = errors.Join(err, e)
		sum.Dropped += k.Dropped
		sum.InvalidRx += k.InvalidRx
		sum.InvalidTx += k.InvalidTx
		sum.RxFull += k.RxFull
		sum.FillEmpty += k.FillEmpty
		sum.TxRingsEmpty += k.TxRingsEmpty
	}
	return sum, err
}

// Close closes the sockets and gives the memory back.
func (q *QueueSet) Close() error {
	var err error
	for _, s := range q.Sockets {
		err = errors.Join(err, s.Close())
	}
	q.Sockets = nil
	return errors.Join(err, q.Umem.Close())
}
