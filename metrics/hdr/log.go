package hdr

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/cell-runtime/cell/metrics"
)

// ErrLog: the text is not an interval log.
var ErrLog = errors.New("hdr: not an interval log")

// LogWriter appends intervals to a log that HdrHistogram's tools read. Times
// in it are absolute, to the millisecond. One goroutine uses it at a time.
type LogWriter struct {
	w *hdrhistogram.HistogramLogWriter
}

// NewLogWriter writes the head of a log that begins at start.
func NewLogWriter(w io.Writer, start time.Time) (*LogWriter, error) {
	l := &LogWriter{w: hdrhistogram.NewHistogramLogWriter(w)}
	if err := errors.Join(l.w.OutputLogFormatVersion(), l.w.OutputStartTime(start.UnixMilli()), l.w.OutputLegend()); err != nil {
		return nil, fmt.Errorf("hdr: writing a log's head: %w", err)
	}
	return l, nil
}

// Append writes what was recorded between from and to: usually a difference
// of two snapshots. The tag, which may be empty, tells apart several series in
// one log; it must not contain commas or white space.
func (l *LogWriter) Append(d *metrics.Distribution, tag string, from, to time.Time) error {
	if strings.ContainsAny(tag, ", \t\r\n") {
		return fmt.Errorf("%w: tag %q; it must not contain commas or white space", metrics.ErrInvalid, tag)
	}
	h := ToHDR(d)
	h.SetTag(tag)
	h.SetStartTimeMs(from.UnixMilli())
	h.SetEndTimeMs(to.UnixMilli())
	if err := l.w.OutputIntervalHistogram(h); err != nil {
		return fmt.Errorf("hdr: appending to a log: %w", err)
	}
	return nil
}

// Interval is one line of a log.
type Interval struct {
	Tag          string
	From, To     time.Time // to the millisecond; the format may round one down
	Distribution *metrics.Distribution
}

// ReadLog calls each for every interval, in order, until the log ends or each
// returns an error, which is then returned. It fails with ErrLog on a line
// that can't be decoded, or with metrics.ErrInvalid as [FromHDR] does.
func ReadLog(r io.Reader, each func(Interval) error) error {
	lr := hdrhistogram.NewHistogramLogReader(r)
	for n := 1; ; n++ {
		h, err := lr.NextIntervalHistogram()
		if err != nil {
			return fmt.Errorf("%w: interval %d: %w", ErrLog, n, err)
		}
		if h == nil {
			return nil
		}
		d, err := FromHDR(h)
		if err != nil {
			return fmt.Errorf("interval %d: %w", n, err)
		}
		i := Interval{Tag: h.Tag(), From: time.UnixMilli(h.StartTimeMs()), To: time.UnixMilli(h.EndTimeMs()), Distribution: d}
		if err := each(i); err != nil {
			return err
		}
	}
}
