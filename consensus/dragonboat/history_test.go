//go:build !nodragonboat && !s390x

package dragonboat

import (
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/cell-runtime/cell/consensus"
)

// history is what callers of registers saw, for porcupine to judge.
type history struct {
	clock atomic.Int64 // orders calls and answers; finer than any clock
	value atomic.Uint64
	mu    sync.Mutex
	ops   []porcupine.Operation
	known int // operations with an answer
}

// call is one operation on a register: a write of value, or a read.
type call struct {
	write bool
	key   string
	value uint64
}

// answer is what a caller knows of an operation in the end.
type answer uint64

const (
	unknown  answer = iota // it may be executed at any time later, or never
	answered               // it was executed
	never                  // it was not, and will not be
)

// answerOf is what an error says of a request.
func answerOf(err error) answer {
	switch {
	case err == nil:
		return answered
	case errors.Is(err, consensus.ErrNoLeader), errors.Is(err, consensus.ErrBusy):
		return never
	}
	return unknown
}

// do notes an operation; f returns what was read.
func (h *history) do(client int, c call, f func() (uint64, answer)) {
	begin := h.clock.Add(1)
	value, a := f()
	end := h.clock.Add(1)
	if a == never || a == unknown && !c.write {
		return // it says nothing
	}
	if a == unknown {
		end = math.MaxInt64
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if a == answered {
		h.known++
	}
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: c, Call: begin, Output: value, Return: end})
}

// answers is how many operations have an answer.
func (h *history) answers() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.known
}

// registers is the model: each key is a register, at first 0.
var registers = porcupine.Model{
	Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
		byKey := make(map[string][]porcupine.Operation)
		for _, op := range all {
			key := op.Input.(call).key
			byKey[key] = append(byKey[key], op)
		}
		var parts [][]porcupine.Operation
		for _, ops := range byKey {
			parts = append(parts, ops)
		}
		return parts
	},
	Init: func() any { return uint64(0) },
	Step: func(state, input, output any) (bool, any) {
		c := input.(call)
		if c.write {
			return true, c.value
		}
		return output.(uint64) == state.(uint64), state
	},
}

// judge returns porcupine's verdict.
func (h *history) judge(patience time.Duration) porcupine.CheckResult {
	h.mu.Lock()
	defer h.mu.Unlock()
	return porcupine.CheckOperationsTimeout(registers, h.ops, patience)
}
