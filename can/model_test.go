package can

import (
	"errors"
	"testing"

	"github.com/cell-runtime/cell/link"
)

// A controller that is alone on the bus has nobody who acknowledges, so what it
// sends waits, until it has no room. All of that travels as soon as somebody comes.
func TestWhatWaitedForSomebodyTravelsWhenSomebodyComes(t *testing.T) {
	m := NewModel(ModelConfig{})
	alone := m.Open(1)
	f := Frame{ID: MakeID(0, ClassControl, 2, 1, 0)}
	sent := 0
	for ; ; sent++ {
		f.Len, f.Data[0] = 1, byte(sent)
		if err := alone.Send(&f); err != nil {
			if !errors.Is(err, link.ErrFull) {
				t.Fatal(err)
			}
			break
		}
	}
	if sent != defaultMailbox || alone.Queued() != defaultMailbox {
		t.Fatalf("%d frames were taken, %d wait; the mailbox holds %d", sent, alone.Queued(), defaultMailbox)
	}
	later := m.Open(2)
	var got [2 * defaultMailbox]Frame
	n, err := later.Receive(got[:])
	if err != nil || n != sent || alone.Queued() != 0 {
		t.Fatalf("%d of %d frames arrived, %d still wait, %v", n, sent, alone.Queued(), err)
	}
	for i := range n {
		if got[i].Data[0] != byte(i) {
			t.Errorf("frame %d came as number %d", got[i].Data[0], i)
		}
	}
}
