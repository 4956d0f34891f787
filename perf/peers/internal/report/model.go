// Package report keeps what was measured, sums it up, and writes it as JSON,
// as Markdown and as pictures.
package report

import "time"

// Format is the version of the JSON file.
const Format = 2

// Placement says where the two processes run.
type Placement string

const (
	// Pinned: each process, with all its threads, on one CPU of its own.
	Pinned Placement = "pinned"
	// Free: both processes on all CPUs, where the kernel puts them.
	Free Placement = "free"
)

// Report is a whole measurement, and the JSON file.
type Report struct {
	Format   int      `json:"format"`
	Settings Settings `json:"settings"`
	Host     Host     `json:"host"`
	Peers    []Peer   `json:"peers"`
	Runs     []Run    `json:"runs"`
	Samples  []Sample `json:"samples"`
	Failures []Failed `json:"failures,omitempty"`
}

// Settings are what all rounds have in common.
type Settings struct {
	Duration   time.Duration `json:"duration_ns"` // of one measurement
	Warmup     time.Duration `json:"warmup_ns"`   // before it, not counted
	CPUs       [2]int        `json:"cpus"`        // client, server
	Window     int           `json:"window"`      // calls under way in a pipeline
	Works      []string      `json:"works"`
	Sizes      []int         `json:"sizes"` // payload bytes
	Placements []Placement   `json:"placements"`
	Peers      []string      `json:"peers"`
}

// Peer describes a product.
type Peer struct {
	Name    string `json:"name"`
	Family  string `json:"family"`
	About   string `json:"about"`
	Module  string `json:"module,omitempty"`
	Version string `json:"version,omitempty"`
}

// Run is one process of the tool; several may have added to a report.
type Run struct {
	Started time.Time `json:"started"`
	Commit  string    `json:"commit"`
	Dirty   bool      `json:"dirty,omitempty"` // the tree differed from Commit
}

// Sample is one measurement of one cell in one round.
type Sample struct {
	Round     int           `json:"round"` // from 1
	Run       int           `json:"run"`   // index into Runs
	Peer      string        `json:"peer"`
	Work      string        `json:"work"`
	Size      int           `json:"size"`
	Placement Placement     `json:"placement"`
	Count     uint64        `json:"count"` // calls answered, or messages taken
	Elapsed   time.Duration `json:"elapsed_ns"`
	ClientCPU time.Duration `json:"client_cpu_ns"`
	ServerCPU time.Duration `json:"server_cpu_ns"`
	Times     *Times        `json:"times_ns,omitempty"` // of round trips
	// Line is the round trip of a bare cache line before and after, in ns.
	Line [2]float64 `json:"line_ns"`
}

// Times are percentiles in nanoseconds.
type Times struct {
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p99.9"`
	P9999 float64 `json:"p99.99"`
	Max   float64 `json:"max"`
}

// Failed is a measurement that came to nothing.
type Failed struct {
	Round int    `json:"round"`
	Cell  string `json:"cell"`
	Error string `json:"error"`
}

// PerSecond is calls or messages a second.
func (s *Sample) PerSecond() float64 { return float64(s.Count) / s.Elapsed.Seconds() }

// BytesPerSecond is payload one way.
func (s *Sample) BytesPerSecond() float64 { return s.PerSecond() * float64(s.Size) }

// CPUPerMillion is seconds of processor time of both processes for a million
// calls or messages.
func (s *Sample) CPUPerMillion() float64 {
	return (s.ClientCPU + s.ServerCPU).Seconds() / float64(s.Count) * 1e6
}
