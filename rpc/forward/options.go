package forward

import (
	"fmt"
	"log/slog"
	"time"
)

// Options tune a forwarder. The zero value of every field means its default.
type Options struct {
	// MaxCalls bounds the calls under way; default 4096, at most 1 Mi. Each
	// takes some 250 bytes, whether or not it is in use.
	MaxCalls int
	// PerCaller and PerTarget bound those of one caller's link and those to
	// one target; default 1024 each, and no more than MaxCalls.
	PerCaller, PerTarget int
	// Patience is how long the next link may be full. Then a caller's request
	// is refused, any other vesicle costs its call, and a caller that has
	// not read for so long is disconnected. Default 1 s.
	Patience time.Duration
	// Logger receives what people must know: targets that come and go, callers
	// that are disconnected. nil is silent.
	Logger *slog.Logger
}

const (
	defaultMaxCalls = 4096
	mostCalls       = 1 << 20
	defaultPerPeer  = 1024
	defaultPatience = time.Second
	mostPatience    = time.Hour
)

func (o *Options) setDefaults() error {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MaxCalls == 0 {
		o.MaxCalls = defaultMaxCalls
	}
	if o.MaxCalls < 1 || o.MaxCalls > mostCalls {
		return fmt.Errorf("%w: MaxCalls %d is not within 1 to %d", ErrOptions, o.MaxCalls, mostCalls)
	}
	for _, f := range []struct {
		name  string
		value *int
	}{{"PerCaller", &o.PerCaller}, {"PerTarget", &o.PerTarget}} {
		if *f.value == 0 {
			*f.value = min(defaultPerPeer, o.MaxCalls)
		}
		if *f.value < 1 || *f.value > o.MaxCalls {
			return fmt.Errorf("%w: %s %d is not within 1 to MaxCalls, %d", ErrOptions, f.name, *f.value, o.MaxCalls)
		}
	}
	if o.Patience == 0 {
		o.Patience = defaultPatience
	}
	if o.Patience < 0 || o.Patience > mostPatience {
		return fmt.Errorf("%w: Patience %v is not within 1ns to %v", ErrOptions, o.Patience, mostPatience)
	}
	return nil
}
