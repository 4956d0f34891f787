package sched

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// MaxCPUs bounds the CPU numbers that a [CPUSet] holds: the largest NR_CPUS
// that Linux can be configured with on amd64 and arm64. A longer list is
// refused rather than allocated for.
const MaxCPUs = 8192

// CPUSet is a set of logical CPU numbers from 0 to [MaxCPUs]-1. The zero value
// is the empty set. A set is immutable: every operation returns another, so
// sets may be copied and shared between goroutines. Compare with
// [CPUSet.Equal].
type CPUSet struct {
	words []uint64 // bit i%64 of word i/64 is CPU i; no trailing zero words
}

// CPUs returns the set of the given CPU numbers. Numbers outside the range of
// a set are left out.
func CPUs(ids ...int) CPUSet {
	var s CPUSet
	for _, id := range ids {
		s.add(id)
	}
	return s
}

// add puts id into s in place; only for sets that nobody else has seen yet.
func (s *CPUSet) add(id int) {
	if id < 0 || id >= MaxCPUs {
		return
	}
	for len(s.words) <= id/64 {
		s.words = append(s.words, 0)
	}
	s.words[id/64] |= 1 << (id % 64)
}

// ParseCPUList reads the kernel's list format, as in
// /sys/devices/system/cpu/online: numbers and ranges between commas, "0-3,8".
// The form "0-15:2/4" (the first 2 of every group of 4), which the kernel
// accepts on its command line, is read too. An empty text is the empty set.
// The error wraps [ErrSyntax].
//
// Source: Documentation/admin-guide/kernel-parameters.rst, "cpu lists".
func ParseCPUList(list string) (CPUSet, error) {
	var s CPUSet
	list = strings.TrimSpace(list)
	if list == "" {
		return s, nil
	}
	for item := range strings.SplitSeq(list, ",") {
		if err := s.addItem(strings.TrimSpace(item)); err != nil {
			return CPUSet{}, fmt.Errorf("CPU list %.64q: %w", list, err)
		}
	}
	return s, nil
}

// addItem adds one number, range or grouped range.
func (s *CPUSet) addItem(item string) error {
	span, groups, grouped := strings.Cut(item, ":")
	from, to, ranged := strings.Cut(span, "-")
	lo, err := cpuNumber(from)
	if err != nil {
		return err
	}
	hi := lo
	if ranged {
		if hi, err = cpuNumber(to); err != nil {
			return err
		}
	}
	if hi < lo {
		return fmt.Errorf("%w: range %.32q runs backwards", ErrSyntax, item)
	}
	used, size := 1, 1
	if grouped {
		u, g, _ := strings.Cut(groups, "/")
		used, err = cpuNumber(u)
		if err == nil {
			size, err = cpuNumber(g)
		}
		if err != nil || !ranged || used < 1 || size < used {
			return fmt.Errorf("%w: %.32q is not first-last:used/group", ErrSyntax, item)
		}
	}
	for id := lo; id <= hi; id++ {
		if (id-lo)%size < used {
			s.add(id)
		}
	}
	return nil
}

func cpuNumber(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%w: %.32q is no CPU number", ErrSyntax, text)
	}
	if n >= MaxCPUs {
		return 0, fmt.Errorf("%w: CPU %d is above the highest number, %d", ErrSyntax, n, MaxCPUs-1)
	}
	return int(n), nil
}

// Has reports whether id is in s.
func (s CPUSet) Has(id int) bool {
	return id >= 0 && id/64 < len(s.words) && s.words[id/64]&(1<<(id%64)) != 0
}

// Len returns how many CPUs are in s.
func (s CPUSet) Len() int {
	n := 0
	for _, w := range s.words {
		n += bits.OnesCount64(w)
	}
	return n
}

// Empty reports whether s has no CPU.
func (s CPUSet) Empty() bool { return s.Len() == 0 }

// List returns the CPU numbers in ascending order, in a new slice.
func (s CPUSet) List() []int {
	ids := make([]int, 0, s.Len())
	for i, w := range s.words {
		for ; w != 0; w &= w - 1 {
			ids = append(ids, i*64+bits.TrailingZeros64(w))
		}
	}
	return ids
}

// First returns the lowest CPU number, or -1 for the empty set.
func (s CPUSet) First() int {
	for i, w := range s.words {
		if w != 0 {
			return i*64 + bits.TrailingZeros64(w)
		}
	}
	return -1
}

// And returns what is in both s and o.
func (s CPUSet) And(o CPUSet) CPUSet {
	return s.combine(o, func(a, b uint64) uint64 { return a & b })
}

// Or returns what is in s or in o.
func (s CPUSet) Or(o CPUSet) CPUSet {
	return s.combine(o, func(a, b uint64) uint64 { return a | b })
}

// Without returns what is in s but not in o.
func (s CPUSet) Without(o CPUSet) CPUSet {
	return s.combine(o, func(a, b uint64) uint64 { return a &^ b })
}

func (s CPUSet) combine(o CPUSet, op func(a, b uint64) uint64) CPUSet {
	words := make([]uint64, max(len(s.words), len(o.words)))
	for i := range words {
		var a, b uint64
		if i < len(s.words) {
			a = s.words[i]
		}
		if i < len(o.words) {
			b = o.words[i]
		}
		words[i] = op(a, b)
	}
	for len(words) > 0 && words[len(words)-1] == 0 {
		words = words[:len(words)-1]
	}
	return CPUSet{words: words}
}

// Equal reports whether s and o have the same CPUs.
func (s CPUSet) Equal(o CPUSet) bool {
	return s.Without(o).Empty() && o.Without(s).Empty()
}

// Subset reports whether every CPU of s is in o.
func (s CPUSet) Subset(o CPUSet) bool { return s.Without(o).Empty() }

// String returns s in the kernel's list format, "0-3,8"; the empty set is "".
func (s CPUSet) String() string {
	var b strings.Builder
	ids := s.List()
	for i := 0; i < len(ids); {
		j := i
		for j+1 < len(ids) && ids[j+1] == ids[j]+1 {
			j++
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(ids[i]))
		if j > i {
			b.WriteByte('-')
			b.WriteString(strconv.Itoa(ids[j]))
		}
		i = j + 1
	}
	return b.String()
}

// MarshalText implements [encoding.TextMarshaler] with the kernel's list
// format.
func (s CPUSet) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]; see [ParseCPUList].
func (s *CPUSet) UnmarshalText(text []byte) error {
	set, err := ParseCPUList(string(text))
	if err == nil {
		*s = set
	}
	return err
}
