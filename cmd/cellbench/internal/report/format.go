package report

import (
	"math"
	"strconv"
	"strings"
)

// scale is one step of a unit, from large to small.
type scale struct {
	factor float64
	unit   string
}

var (
	timeScales  = []scale{{1e9, "s"}, {1e6, "ms"}, {1e3, "µs"}, {1, "ns"}}
	countScales = []scale{{1e9, "G"}, {1e6, "M"}, {1e3, "K"}, {1, ""}}
	byteScales  = []scale{{1e12, "TB"}, {1e9, "GB"}, {1e6, "MB"}, {1e3, "kB"}, {1, "B"}}
)

// scaled writes v with three significant digits in the largest unit of which
// there is at least one.
func scaled(v float64, scales []scale) string {
	for i, s := range scales {
		// Rounding may reach the next unit: 999.6 ns is 1.00 µs.
		if round3(v) >= s.factor || i == len(scales)-1 {
			if s.factor == 1 {
				return strings.TrimSpace(digits3(v) + " " + s.unit)
			}
			return fixed3(v/s.factor) + " " + s.unit
		}
	}
	return ""
}

// round3 rounds to three significant digits.
func round3(v float64) float64 {
	r, _ := strconv.ParseFloat(strconv.FormatFloat(v, 'e', 2, 64), 64)
	return r
}

// digits3 writes v as fixed3 does, but whole numbers without a fraction.
func digits3(v float64) string {
	if r := round3(v); r == math.Trunc(r) {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return fixed3(v)
}

// fixed3 writes v with three significant digits, and all digits of a whole
// number.
func fixed3(v float64) string {
	switch r := round3(v); {
	case r >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case r >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case r >= 0.01 || r == 0:
		return strconv.FormatFloat(v, 'f', 2, 64)
	default:
		return strconv.FormatFloat(r, 'g', -1, 64)
	}
}

// FormatNS writes a time in nanoseconds for people: "112 ns", "1.20 ms".
func FormatNS(ns float64) string { return scaled(ns, timeScales) }

// tickNS writes a round time for an axis: "50 µs".
func tickNS(ns float64) string {
	for _, s := range timeScales {
		if ns >= s.factor {
			return strconv.FormatFloat(round3(ns/s.factor), 'g', -1, 64) + " " + s.unit
		}
	}
	return FormatNS(ns)
}

// FormatMsgs writes messages per second for people: "183 M/s".
func FormatMsgs(perS float64) string {
	s := scaled(perS, countScales)
	return s + "/s"
}

// FormatBytes writes bytes per second for people, in powers of ten as
// bandwidth is: "47.2 GB/s".
func FormatBytes(perS float64) string { return scaled(perS, byteScales) + "/s" }

// FormatSize writes a size in bytes, in powers of two where it is whole in
// them: "64 B", "1 KiB", "1500 B".
func FormatSize(n int) string {
	for _, s := range []struct {
		bytes int
		unit  string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= s.bytes && n%s.bytes == 0 {
			return strconv.Itoa(n/s.bytes) + " " + s.unit
		}
	}
	return strconv.Itoa(n) + " B"
}

// formatRatio writes a ratio to the limit: "1.05×".
func formatRatio(r float64) string {
	if r >= 10 {
		return digits3(r) + "×"
	}
	return strconv.FormatFloat(r, 'f', 2, 64) + "×"
}

// formatPercent writes a share: "86 %", "0.4 %".
func formatPercent(share float64) string {
	p := share * 100
	if p != 0 && math.Abs(p) < 9.95 {
		return strconv.FormatFloat(p, 'f', 1, 64) + " %"
	}
	return strconv.FormatFloat(p, 'f', 0, 64) + " %"
}

// optional formats what may be nil; "" then.
func optional(v *float64, format func(float64) string) string {
	if v == nil {
		return ""
	}
	return format(*v)
}
