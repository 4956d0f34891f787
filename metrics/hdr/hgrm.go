package hdr

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/cell-runtime/cell/metrics"
)

// ErrHGRM: the text is not a percentile distribution.
var ErrHGRM = errors.New("hdr: not an .hgrm file")

// maxPoints bounds what ReadHGRM keeps. A file of five ticks has some 200
// lines.
const maxPoints = 1 << 16

// WriteHGRM writes d as a percentile distribution: a line for each of ticks
// steps (1 to 100, usually 5) per halving of the distance to 100 %. Values are
// divided by scale: 1000 shows nanoseconds as microseconds.
func WriteHGRM(w io.Writer, d *metrics.Distribution, ticks int, scale float64) error {
	if ticks < 1 || ticks > 100 || !(scale > 0) || math.IsInf(scale, 1) {
		return fmt.Errorf("%w: %d ticks, scale %v; 1 to 100 ticks and a positive scale can be had", metrics.ErrInvalid, ticks, scale)
	}
	b := bufio.NewWriter(w)
	if _, err := ToHDR(d).PercentilesPrint(b, int32(ticks), scale); err != nil {
		return fmt.Errorf("hdr: writing .hgrm: %w", err)
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("hdr: writing .hgrm: %w", err)
	}
	return nil
}

// Line is one step of an .hgrm file.
type Line struct {
	Value      float64 // in the file's scale
	Percentile float64 // 0 to 100
	Count      uint64  // values up to Value
}

// ReadHGRM reads the steps of an .hgrm file of any implementation. It fails
// with ErrHGRM, and then names the line.
func ReadHGRM(r io.Reader) ([]Line, error) {
	var lines []Line
	scan := bufio.NewScanner(r)
	for n := 1; scan.Scan(); n++ {
		f := strings.Fields(scan.Text())
		if len(f) == 0 || f[0] == "Value" || strings.HasPrefix(f[0], "#") {
			continue
		}
		l, err := parseLine(f)
		if err == nil && len(lines) > 0 {
			if last := lines[len(lines)-1]; l.Percentile < last.Percentile || l.Value < last.Value || l.Count < last.Count {
				err = errors.New("it goes backwards")
			}
		}
		if err == nil && len(lines) == maxPoints {
			err = fmt.Errorf("more than %d steps", maxPoints)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrHGRM, n, err)
		}
		lines = append(lines, l)
	}
	if err := scan.Err(); err != nil {
		return nil, fmt.Errorf("hdr: reading .hgrm: %w", err)
	}
	if len(lines) == 0 {
		return nil, fmt.Errorf("%w: it has no steps", ErrHGRM)
	}
	return lines, nil
}

// parseLine parses value, percentile as a fraction and count. The fourth
// column, 1/(1-percentile), is missing in some files' last line and says
// nothing new.
func parseLine(f []string) (Line, error) {
	if len(f) < 3 || len(f) > 4 {
		return Line{}, fmt.Errorf("%d columns", len(f))
	}
	value, err := strconv.ParseFloat(f[0], 64)
	if err != nil {
		return Line{}, err
	}
	part, err := strconv.ParseFloat(f[1], 64)
	if err != nil {
		return Line{}, err
	}
	count, err := strconv.ParseUint(f[2], 10, 64)
	if err != nil {
		return Line{}, err
	}
	if !(value >= 0) || math.IsInf(value, 1) || !(part >= 0 && part <= 1) {
		return Line{}, errors.New("value or percentile out of range")
	}
	return Line{Value: value, Percentile: part * 100, Count: count}, nil
}
