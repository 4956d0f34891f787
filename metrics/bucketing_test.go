package metrics

import (
	"errors"
	"math"
	"testing"
)

func TestBucketsRefuse(t *testing.T) {
	for name, o := range map[string]HistogramOptions{
		"no digits below zero":          {Digits: -1},
		"six digits":                    {Digits: 6},
		"negative lowest":               {Lowest: -1},
		"lowest beyond exact logarithm": {Lowest: 1<<40 + 1, Highest: math.MaxInt64},
		"highest below twice lowest":    {Lowest: 1000, Highest: 1999},
		"negative highest":              {Highest: -5},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := newBuckets(o); !errors.Is(err, ErrInvalid) {
				t.Fatalf("got %v, want ErrInvalid", err)
			}
		})
	}
}

func TestBucketsHoldEveryValueWithinTheirBounds(t *testing.T) {
	for name, o := range map[string]HistogramOptions{
		"defaults":            {},
		"one digit":           {Digits: 1},
		"five digits":         {Digits: 5, Highest: 1e9},
		"coarse lowest":       {Lowest: 1000, Highest: 3600e9},
		"whole range":         {Highest: math.MaxInt64},
		"smallest range":      {Lowest: 1, Highest: 2},
		"highest at an edge":  {Highest: 2048},
		"highest below it":    {Highest: 2047},
		"large lowest":        {Lowest: 1 << 40, Highest: math.MaxInt64, Digits: 5},
		"lowest not a square": {Lowest: 999, Highest: 1e12, Digits: 2},
	} {
		t.Run(name, func(t *testing.T) {
			b := must(newBuckets(o))
			next := int64(0)
			for i := range b.n {
				low, high := b.bounds(i)
				if low != next || high < low {
					t.Fatalf("bucket %d is %d to %d; the one before ended at %d", i, low, high, next-1)
				}
				for _, v := range []int64{low, low + (high-low)/2, high} {
					if got := b.index(v); got != uint64(i) {
						t.Fatalf("index(%d) = %d, want %d", v, got, i)
					}
				}
				next = high + 1 // wraps after MaxInt64, which is last
			}
			if next > 0 && next <= b.opt.Highest {
				t.Fatalf("buckets end at %d, below the highest value %d", next-1, b.opt.Highest)
			}
			for _, v := range []int64{-1, math.MinInt64} {
				if got := b.index(v); got < uint64(b.n) {
					t.Errorf("index(%d) = %d, inside of %d buckets", v, got, b.n)
				}
			}
			if next > 0 {
				if got := b.index(next); got < uint64(b.n) {
					t.Errorf("index(%d) = %d, inside of %d buckets", next, got, b.n)
				}
			}
		})
	}
}

func TestBucketsAreAsPreciseAsTheirDigits(t *testing.T) {
	for digits := 1; digits <= 5; digits++ {
		b := must(newBuckets(HistogramOptions{Digits: digits, Highest: 1e9}))
		for i := range b.n {
			low, high := b.bounds(i)
			if float64(high-low) > float64(low)*math.Pow10(-digits) {
				t.Fatalf("%d digits: bucket %d to %d is too wide", digits, low, high)
			}
		}
	}
}
