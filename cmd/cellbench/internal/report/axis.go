package report

import "math"

// axis maps times to heights of a plot, logarithmically.
type axis struct{ low, high float64 }

// logAxis returns an axis over [low, high], widened to steps of 1, 2 and 5.
func logAxis(low, high float64) axis {
	steps := []float64{1, 2, 5, 10}
	decade := math.Pow(10, math.Floor(math.Log10(low)))
	a := axis{low: decade}
	for _, s := range steps {
		if s*decade <= low*(1+1e-9) {
			a.low = s * decade
		}
	}
	decade = math.Pow(10, math.Floor(math.Log10(high)))
	for _, s := range steps {
		if a.high = s * decade; a.high >= high*(1-1e-9) {
			break
		}
	}
	if a.high <= a.low {
		a.high = a.low * 10
	}
	return a
}

// at returns the height of v, from the top of the drawing.
func (a axis) at(v float64) float64 {
	part := math.Log(timeFloor(v)/a.low) / math.Log(a.high/a.low)
	part = min(max(part, 0), 1)
	return plotHeight - plotBottom - part*(plotHeight-plotTop-plotBottom)
}

// ticks returns where grid lines lie: at 1, 2 and 5 in each decade, or at 1
// alone where there are many decades.
func (a axis) ticks() []float64 {
	steps := []float64{1, 2, 5}
	if math.Log10(a.high/a.low) > 3.5 {
		steps = steps[:1]
	}
	var out []float64
	for e := math.Floor(math.Log10(a.low)); e <= math.Ceil(math.Log10(a.high)); e++ {
		for _, s := range steps {
			if v := s * math.Pow(10, e); v >= a.low*(1-1e-9) && v <= a.high*(1+1e-9) {
				out = append(out, v)
			}
		}
	}
	return out
}
