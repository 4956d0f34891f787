package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Tally is a receiver's account of a stream: how many messages came, and the
// sum of the words that it read of them.
type Tally struct {
	Count uint64
	Sum   uint64
}

// TallySize is the length of an encoded Tally in bytes.
const TallySize = 16

// Add accounts for one message.
func (t *Tally) Add(message []byte) {
	t.Count++
	t.Sum += Touch(message)
}

// Append encodes the tally behind b.
func (t Tally) Append(b []byte) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(b, t.Count), t.Sum)
}

// ErrTally: a stream was not received as it was sent.
var ErrTally = errors.New("the stream did not arrive as it was sent")

// ParseTally decodes what Append encoded.
func ParseTally(b []byte) (Tally, error) {
	if len(b) != TallySize {
		return Tally{}, fmt.Errorf("%w: an account of %d bytes, want %d", ErrTally, len(b), TallySize)
	}
	return Tally{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])}, nil
}

// Check holds the account to sent copies of message.
func (t Tally) Check(sent uint64, message []byte) error {
	if want := sent * Touch(message); t.Count != sent || t.Sum != want {
		return fmt.Errorf("%w: %d messages with sum %#x went out, %d with %#x came", ErrTally, sent, want, t.Count, t.Sum)
	}
	return nil
}

// Touch reads one word of every cache line of b and returns their sum. That is
// the least that a reader must do to have received it; without it, products
// that hand over memory which they share would be measured at sending
// addresses.
func Touch(b []byte) (sum uint64) {
	for len(b) >= 8 {
		sum += binary.LittleEndian.Uint64(b)
		b = b[min(64, len(b)):]
	}
	return sum
}
