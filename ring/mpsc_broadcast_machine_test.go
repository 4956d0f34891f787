package ring

import (
	"slices"
	"strings"
	"testing"
)

// inOrder fails unless the wanted instructions ("OP" or "OP part of its
// arguments") stand in code in that order, others in between.
func inOrder(t *testing.T, name string, code []instruction, wanted ...string) {
	t.Helper()
	at := 0
	for _, want := range wanted {
		op, args, _ := strings.Cut(want, " ")
		i := slices.IndexFunc(code[at:], func(in instruction) bool {
			return in.op == op && strings.Contains(in.args, args)
		})
		if i < 0 {
			t.Errorf("%s has no %q in its place of %q", name, want, wanted)
			return
		}
		at += i + 1
	}
}

func TestMachineCodeOfSharedAndBroadcastOnAMD64(t *testing.T) {
	functions, remarks := listing(t, "amd64")
	for _, name := range []string{"(*SharedProducer).commitRun", "(*SharedProducer).mark", "(*SharedConsumer).give",
		"(*Publisher).Claim", "(*Publisher).claimRun", "(*Publisher).Commit", "(*Publisher).commitRun", "(*Publisher).publish",
		"(*Subscriber).intactSince", "(*Subscriber).Release"} {
		if code := functions[name]; len(code) == 0 || locked(code) {
			t.Errorf("%s: %d instructions, or a locked one", name, len(code))
		}
	}
	if n := len(find(functions["(*SharedProducer).claimRun"], "LOCK", "")); n != 1 {
		t.Errorf("a claim has %d locked instructions, want one", n)
	}
	if !strings.Contains(remarks, "can inline (*SharedConsumer).Poll") {
		t.Error("Poll of an MPSC ring does not inline")
	}
}

// The barriers that the broadcast ring needs stand between the accesses that
// they are to keep apart.
func TestMachineCodeOfSharedAndBroadcastOnARM64(t *testing.T) {
	functions, _ := listing(t, "arm64")
	inOrder(t, "raise", functions["(*Publisher).raise"], "STLR", "CALL ring.storeFence")
	inOrder(t, "publish", functions["(*Publisher).publish"], "STLR", "STLR", "LDARW")
	inOrder(t, "intactSince", functions["(*Subscriber).intactSince"], "CALL ring.loadFence", "LDAR")
	inOrder(t, "Receive", functions["(*Subscriber).Receive"], "LDAR", "CALL runtime.memmove", "CALL ring.loadFence", "LDAR")
	inOrder(t, "Poll", functions["(*Subscriber).Poll"], "LDAR", "CALL ring.(*Subscriber).read", "CALL ring.loadFence", "LDAR")
	inOrder(t, "commitRun", functions["(*SharedProducer).commitRun"], "STLRW")
	inOrder(t, "give", functions["(*SharedConsumer).give"], "MOVW ZR, ", "STLR")
}
