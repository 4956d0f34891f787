package peer

import (
	"errors"
	"sync/atomic"
	"testing"
)

func TestTallyTellsWhatIsMissingOrChanged(t *testing.T) {
	message := []byte("0123456789abcdef----------------------------------------------------0123456789")
	var good Tally
	good.Add(message)
	good.Add(message)
	back, err := ParseTally(good.Append(nil))
	if err != nil || back != good {
		t.Fatalf("%v, %v back", err, back)
	}
	if err := good.Check(2, message); err != nil {
		t.Error(err)
	}
	if err := good.Check(3, message); !errors.Is(err, ErrTally) {
		t.Errorf("one missing: %v", err)
	}
	changed := append([]byte(nil), message...)
	changed[65]++ // in the second line
	if err := good.Check(2, changed); !errors.Is(err, ErrTally) {
		t.Errorf("other bytes: %v", err)
	}
	if _, err := ParseTally(make([]byte, TallySize-1)); !errors.Is(err, ErrTally) {
		t.Errorf("a short tally: %v", err)
	}
}

func TestTouchReadsEveryLine(t *testing.T) {
	for size, lines := range map[int]uint64{0: 0, 7: 0, 8: 1, 64: 1, 71: 1, 72: 2, 1 << 20: 1 << 14} {
		b := make([]byte, size)
		for i := 0; i < size; i += 64 {
			b[i] = 1
		}
		if got := Touch(b); got != lines {
			t.Errorf("%d bytes: %d lines, want %d", size, got, lines)
		}
	}
}

func TestParallelKeepsAWindow(t *testing.T) {
	var now, most, calls atomic.Int64
	full := make(chan struct{})
	n, err := Parallel(func() (func() error, error) {
		first := true
		return func() error {
			if k := now.Add(1); k == Window {
				close(full)
			} else if k > most.Load() {
				most.Store(k)
			}
			if first {
				first = false
				<-full // all are under way at once
			} else {
				calls.Add(1)
			}
			now.Add(-1)
			return nil
		}, nil
	}, func(answered uint64) bool { return answered < 1 })
	if err != nil || n != Window {
		t.Errorf("%d answered, want %d: %v", n, Window, err)
	}
}

func TestParallelEndsWithTheFirstError(t *testing.T) {
	broken := errors.New("broken")
	made := 0
	_, err := Parallel(func() (func() error, error) {
		made++
		bad := made == 7
		return func() error {
			if bad {
				return broken
			}
			return nil
		}, nil
	}, func(uint64) bool { return true })
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if _, err := Parallel(func() (func() error, error) { return nil, broken }, nil); !errors.Is(err, broken) {
		t.Errorf("a call that can't be made: %v", err)
	}
}
