package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// ErrRate: neither "max" nor a positive number of messages per second.
var ErrRate = errors.New(`rate is neither "max" nor a positive number of messages per second`)

// Rate is how fast messages are offered: MaxRate, or messages per second by a
// fixed schedule. In JSON it is "max" or a number.
type Rate float64

// MaxRate is as fast as it goes: a closed loop.
const MaxRate Rate = 0

// maxRate bounds what ParseRate believes: one message each picosecond.
const maxRate = 1e12

// ParseRate reads "max", or a number of messages per second that may end in
// K, M or G (thousand, million, thousand million). It wraps ErrRate.
func ParseRate(s string) (Rate, error) {
	if s == "max" {
		return MaxRate, nil
	}
	number, factor := s, 1.0
	for suffix, f := range map[string]float64{"K": 1e3, "M": 1e6, "G": 1e9} {
		if cut, ok := strings.CutSuffix(strings.ToUpper(s), suffix); ok {
			number, factor = cut, f
		}
	}
	f, err := strconv.ParseFloat(number, 64)
	if r := f * factor; err == nil && validRate(r) {
		return Rate(r), nil
	}
	return 0, fmt.Errorf("%w: %q; write max, 50000 or 2M", ErrRate, s)
}

func validRate(f float64) bool {
	return f > 0 && f <= maxRate // NaN fails both
}

// String returns "max" or the number, readable by ParseRate.
func (r Rate) String() string {
	if r == MaxRate {
		return "max"
	}
	return strconv.FormatFloat(float64(r), 'f', -1, 64)
}

// MarshalJSON writes "max" or a number.
func (r Rate) MarshalJSON() ([]byte, error) {
	if r == MaxRate {
		return []byte(`"max"`), nil
	}
	if !validRate(float64(r)) {
		return nil, fmt.Errorf("%w: %v", ErrRate, float64(r))
	}
	return json.Marshal(float64(r))
}

// UnmarshalJSON reads what MarshalJSON writes. It wraps ErrRate.
func (r *Rate) UnmarshalJSON(b []byte) error {
	if bytes.Equal(b, []byte(`"max"`)) {
		*r = MaxRate
		return nil
	}
	var f float64
	if err := json.Unmarshal(b, &f); err != nil || !validRate(f) || math.IsInf(f, 0) {
		return fmt.Errorf("%w: %.40s", ErrRate, b)
	}
	*r = Rate(f)
	return nil
}
