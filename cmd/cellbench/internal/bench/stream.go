package bench

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/cell-runtime/cell/cmd/cellbench/internal/report"
	"github.com/cell-runtime/cell/sched"
	"github.com/cell-runtime/cell/wire"
)

// stampSize is what an open-loop vesicle carries: when it should have been
// sent, in nanoseconds of CLOCK_MONOTONIC, which all processes share.
const stampSize = 8

// looksPerTime is how many batches pass between two looks at the clock: one
// look costs as much as a small vesicle.
const looksPerTime = 64

// pump sends vesicles as fast as they are taken. It is no part of its caller,
// where the compiler would not find it in its profile.
//
//go:noinline
func (e *end) pump(s *Spec, length time.Duration) error {
	out, payload := make([]wire.Vesicle, s.Batch), make([]byte, s.Payload())
	for i := range out {
		out[i] = wire.Vesicle{Header: wire.Header{Fingerprint: fingerprint, Correlation: uint32(i), Kind: wire.KindEvent, Hops: 1}, Payload: payload}
	}
	until, step, looks := after(length), uint32(len(out)), looksPerTime
	if len(payload) > 4096 {
		looks = 1
	}
	for tx := e.tx; ; {
		for range looks {
			if tx != nil {
				if n, err := tx.Write(out); n < len(out) {
					if err = e.retry(out[n:], err); err != nil {
						return err
					}
				}
			} else if err := e.write(out, len(payload)); err != nil {
				return err
			}
			for k := range out {
				out[k].Header.Correlation += step
			}
		}
		if past(sched.TicksRelaxed(), until) {
			return e.finish()
		}
	}
}

// pace sends vesicles by a fixed schedule, all that are due in one batch, and
// stamps each with its intended start.
func (e *end) pace(s *Spec, length time.Duration) error {
	out := make([]wire.Vesicle, s.Batch)
	for i := range out {
		out[i].Header = wire.Header{Fingerprint: fingerprint, Kind: wire.KindEvent, Hops: 1}
	}
	start, gap := sched.Now(), 1e9/float64(s.Rate)
	end := start + int64(length)
	for id := uint64(0); ; { // a long run passes 32 bits
		now := sched.Now()
		if now > end {
			return e.finish()
		}
		due := min(int(float64(now-start)/gap)+1-int(id), len(out))
		if due <= 0 {
			sched.Pause()
			continue
		}
		n, err := e.claim(out[:due], s.Payload())
		if err != nil {
			return err
		}
		for k := range out[:n] {
			out[k].Header.Correlation = uint32(id)
			binary.LittleEndian.PutUint64(out[k].Payload, uint64(start)+uint64(float64(id)*gap))
			id++
		}
		if err := e.publish(out[:n]); err != nil {
			return err
		}
	}
}

// pour sends the bytes of r, read straight into the claimed places, and
// returns their number and digest.
func (e *end) pour(s *Spec, r io.Reader) (uint64, string, error) {
	out := make([]wire.Vesicle, s.Batch)
	sum, total, id := sha256.New(), uint64(0), uint32(0)
	for {
		n, err := e.claim(out, s.Payload())
		if err != nil {
			return total, "", err
		}
		used, eof := 0, false
		for k := range out[:n] {
			got, err := io.ReadFull(r, out[k].Payload)
			if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				return total, "", err
			}
			eof = err != nil
			if got > 0 {
				out[k].Header = wire.Header{Fingerprint: fingerprint, Kind: wire.KindEvent, Hops: 1, Correlation: id}
				out[k].Payload = out[k].Payload[:got]
				sum.Write(out[k].Payload)
				total += uint64(got)
				id++
				used++
			}
			if eof {
				break
			}
		}
		if err := e.publish(out[:used]); err != nil {
			return total, "", err
		}
		if eof {
			e.abort()
			return total, hex.EncodeToString(sum.Sum(nil)), e.finish()
		}
	}
}

// sink takes a stream to its end and accounts for it. It counts from the end
// of the warm-up; every vesicle must be the next one.
func (e *end) sink(j job) (answer, error) {
	in := make([]wire.Vesicle, 64) // more would push the ring out of the first-level cache
	k := sinkState{count: ^uint64(0)}
	if j.Stamped {
		k.rec = newRecorder() // ages count: look as often as can be
	} else {
		e.patience = streamPatience
	}
	if j.Digest {
		k.sum = sha256.New()
	}
	from := after(j.Warmup)
	for i := 0; ; i++ {
		n, err := e.poll(in)
		if err != nil {
			return answer{}, err
		}
		if k.begin == 0 && (i%looksPerTime == 0 || j.Stamped || j.Payload > 4096) && past(sched.TicksRelaxed(), from) {
			k.begin, k.count, k.bytes = sched.Now(), 0, 0
		}
		end, err := k.take(in[:n])
		if err != nil {
			return answer{}, err
		}
		if err := e.release(n); err != nil {
			return answer{}, err
		}
		if end {
			return k.answer()
		}
	}
}

type sinkState struct {
	next         uint32
	count, bytes uint64 // since begin
	begin        int64  // 0 during the warm-up
	read         uint64 // what the touched words add up to: keeps the loads
	rec          *recorder
	sum          hash.Hash
}

// take accounts for vesicles; end says that the last of them was the stream's.
func (k *sinkState) take(vs []wire.Vesicle) (end bool, err error) {
	if n := len(vs); n > 0 && vs[n-1].Header.Kind == wire.KindControl {
		end, vs = true, vs[:n-1]
	}
	next, bytes, read := k.next, uint64(0), uint64(0)
	for i := range vs {
		v := &vs[i]
		if v.Header.Correlation != next {
			return false, fmt.Errorf("vesicle %d came where %d was next", v.Header.Correlation, next)
		}
		next++
		bytes += uint64(len(v.Payload))
		read += touch(v.Payload)
	}
	k.next, k.read = next, k.read+read
	k.count += uint64(len(vs))
	k.bytes += bytes
	if k.sum != nil || k.rec != nil && k.begin != 0 {
		k.look(vs)
	}
	return end, nil
}

// look does what is not asked of every stream.
func (k *sinkState) look(vs []wire.Vesicle) {
	now := sched.Now()
	for i := range vs {
		if k.sum != nil {
			k.sum.Write(vs[i].Payload)
		} else {
			k.rec.ticks(uint64(max(now-int64(binary.LittleEndian.Uint64(vs[i].Payload)), 0)))
		}
	}
}

func (k *sinkState) answer() (answer, error) {
	if k.begin == 0 {
		return answer{}, errors.New("the stream ended within the warm-up; lengthen --duration")
	}
	a := answer{Count: k.count, Bytes: k.bytes, Elapsed: time.Duration(sched.Now() - k.begin)}
	if k.sum != nil {
		a.SHA256 = hex.EncodeToString(k.sum.Sum(nil))
	}
	if k.rec != nil {
		d := report.FromMetrics(k.rec.hist.Snapshot()) // already nanoseconds
		a.Values, a.Counts = d.Values, d.Counts
	}
	return a, nil
}
