package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time, written as Go writes them: "1m30s".
type Duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is no length of time such as 500ms or 1m30s", text)
	}
	*d = Duration(v)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// Size is a number of bytes, written with or without a unit: 4096, "64K",
// "512M", "2G", each a power of 1024.
type Size int64

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(text []byte) error {
	number, shift := strings.TrimSuffix(string(text), "iB"), 0
	if n := len(number); n > 0 {
		if i := strings.IndexByte("KMGT", number[n-1]); i >= 0 {
			number, shift = number[:n-1], 10*(i+1)
		}
	}
	v, err := strconv.ParseInt(number, 10, 64)
	if err != nil || v > 1<<62>>shift || v < -1 {
		return fmt.Errorf("%q is no number of bytes such as 4096, 64K, 512M or 2G", text)
	}
	*s = Size(v << shift)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (s Size) MarshalText() ([]byte, error) {
	for i := 4; i > 0; i-- {
		if unit := Size(1) << (10 * i); s >= unit && s%unit == 0 {
			return []byte(fmt.Sprintf("%d%c", s/unit, "KMGT"[i-1])), nil
		}
	}
	return strconv.AppendInt(nil, int64(s), 10), nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
