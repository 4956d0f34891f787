package report

import (
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// ErrNoTimes: a result without single times has no histogram.
var ErrNoTimes = errors.New("no single times were taken")

// hgrmLimit bounds the times in an .hgrm file: an hour, in nanoseconds.
const hgrmLimit = int64(3600 * 1e9)

// WriteHgrm writes d in the percentile format of HdrHistogram (.hgrm), which
// its plotters read, with values in nanoseconds and three significant digits.
// Times above an hour are written as an hour. It wraps ErrNoTimes if d is
// empty, and ErrDistribution.
func WriteHgrm(w io.Writer, d Distribution) error {
	if err := d.Check(); err != nil {
		return err
	}
	if d.Count() == 0 {
		return fmt.Errorf("%w: a stream in closed loop counts messages but doesn't time them; ask for rtt, or a --rate", ErrNoTimes)
	}
	_, most := d.Bounds()
	h := hdrhistogram.New(1, max(min(int64(math.Ceil(most)), hgrmLimit), 2), 3)
	for i, v := range d.Values {
		c := d.Counts[i]
		if c > math.MaxInt64 {
			return fmt.Errorf("%w: a count of %d is above what the format holds", ErrDistribution, c)
		}
		if c == 0 {
			continue
		}
		if err := h.RecordValues(min(int64(math.Round(v)), hgrmLimit), int64(c)); err != nil {
			return fmt.Errorf("histogram of %v ns: %w", v, err)
		}
	}
	if _, err := h.PercentilesPrint(w, 5, 1); err != nil {
		return fmt.Errorf("writing histogram: %w", err)
	}
	return nil
}
