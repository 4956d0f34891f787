package report

import "time"

// Schema names the version of the JSON form. A field may be added within a
// version; it changes when one is removed or changes its meaning.
const Schema = "cellbench/1"

// Kinds of measurement: values of Setting.Kind.
const (
	// KindRTT: a message travels to the peer and its answer comes back; ns
	// is the whole round trip.
	KindRTT = "rtt"
	// KindStream: messages travel one way; ns is there only in open loop,
	// where it is the age of a message when its receiver sees it.
	KindStream = "stream"
	// KindFanIn: several peers stream to one receiver.
	KindFanIn = "fanin"
	// KindRPC: a typed call and its answer; ns is from the call to the answer,
	// and not there where several are under way at once.
	KindRPC = "rpc"
	// KindTopic: typed events of a topic travel from a publisher to a
	// subscriber.
	KindTopic = "topic"
	// KindLimit: what the pair of cores can do without any of Cell's code.
	KindLimit = "limit"
	// KindJitter: gaps in the time of a spinning core; ns is their length.
	KindJitter = "jitter"
)

// Values of Setting.Loop.
const (
	// Closed: the next message is sent when the last one is done, so a stall
	// delays the messages that would have seen it.
	Closed = "closed"
	// Open: messages are sent by a fixed schedule and their time counts from
	// the intended start, so a stall is counted in full.
	Open = "open"
)

// Setting is what was asked for: all that two results must share to be the
// same measurement. It is comparable with ==.
type Setting struct {
	// Kind is one of the Kind constants.
	Kind string `json:"kind"`
	// Link is the medium asked for: "ring", "uds", …; for a limit what was
	// exercised: "cacheline", "copy", "c-ring".
	Link string `json:"link"`
	// Size is what --size asked for, in bytes; 0 where it has no meaning.
	Size int `json:"size"`
	// Payload is how many bytes of application data each message carried.
	Payload int `json:"payload"`
	// Batch is how many messages were published at once, at least 1.
	Batch int `json:"batch"`
	// Peers is how many peers were connected; 0, left out of the JSON, means
	// one.
	Peers int `json:"peers,omitempty"`
	// Busy is how many of Peers sent; 0, left out of the JSON, means all.
	Busy int `json:"busy,omitempty"`
	// Caller is who made typed calls: "engine" or "goroutine"; Handler is who
	// answered them: "inline", on the engine, or "pool", on a goroutine; Window
	// is how many were under way at once. All are left out of the JSON except
	// for KindRPC.
	Caller  string `json:"caller,omitempty"`
	Handler string `json:"handler,omitempty"`
	Window  int    `json:"window,omitempty"`
	// Wait is how the sides waited: "spin", "yield", "park", "adaptive";
	// empty where nothing waits.
	Wait string `json:"wait"`
	// Rate is MaxRate, or messages per second by a fixed schedule.
	Rate Rate `json:"rate"`
	// Loop is Closed or Open, and empty where there is no load (jitter).
	Loop string `json:"loop"`
}

// Figures is what was measured. Over several rounds each figure is the median
// of the rounds, except that Count is their sum, NS.Min the least, NS.Max the
// greatest, and a percentile for which one round has too few samples that of
// all rounds together.
type Figures struct {
	// Count is how many samples NS is made of or, without NS, how many
	// messages were counted.
	Count uint64 `json:"count"`
	// NS holds latencies; nil where single messages were not timed.
	NS *Latency `json:"ns"`
	// MsgsPerS is messages (round trips for rtt) per second; nil for jitter.
	MsgsPerS *float64 `json:"msgs_per_s"`
	// BytesPerS is payload bytes per second, one way; nil where none moved.
	BytesPerS *float64 `json:"bytes_per_s"`
	// Percentiles is the whole curve for plots, by rising quantile; empty
	// without NS.
	Percentiles []Point `json:"percentiles,omitempty"`
}

// Measured is a limit: another measurement, made beside the result's own.
type Measured struct {
	Setting
	Figures
}

// Result is one measurement with everything needed to judge it. Make it with
// [Combine], then fill in Path, Why, Started, Host and what else applies.
type Result struct {
	// Schema is the constant Schema; writing sets it.
	Schema string `json:"schema,omitempty"`
	Setting
	Figures
	// Limit is the physical limit measured in the same run, round by round
	// between the result's own rounds; nil where none applies.
	Limit *Measured `json:"limit"`
	// RatioP50, RatioP99 and RatioP999 are latency over the limit's: 1 is
	// the limit itself, more is slower. Nil without a limit or its latency.
	RatioP50  *float64 `json:"ratio_p50"`
	RatioP99  *float64 `json:"ratio_p99"`
	RatioP999 *float64 `json:"ratio_p99_9"`
	// RatioMsgs and RatioBytes are throughput over the limit's: 1 is the
	// limit itself, less is slower. Nil without a limit and in open loop,
	// where the schedule sets the rate.
	RatioMsgs  *float64 `json:"ratio_msgs"`
	RatioBytes *float64 `json:"ratio_bytes"`
	// Spread is how far the rounds lay apart; nil for a single round.
	Spread *Spread `json:"spread"`
	// Path is the path that the connection really took, in words ("ring over
	// memfd"), and Why one sentence for each better path not taken.
	Path string   `json:"path"`
	Why  []string `json:"why,omitempty"`
	// Input is the file whose bytes travelled, and SHA256 the digest, in
	// hex, which was the same on both sides. Empty without --input.
	Input  string `json:"input,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
	// Jitter is there for KindJitter only.
	Jitter *Jitter `json:"jitter,omitempty"`
	// Notes are sentences for the reader: what is odd about this result.
	Notes []string `json:"notes,omitempty"`
	// Started is when the first round began (RFC 3339).
	Started time.Time `json:"started"`
	// Host is where; nil only inside a Report whose own host is the same.
	Host *Host `json:"host,omitempty"`
}

// Jitter is what the host took from a spinning core.
type Jitter struct {
	// ThresholdNS: shorter gaps were not counted, in ns.
	ThresholdNS float64 `json:"threshold_ns"`
	// ObservedS is how long the core was watched, in seconds.
	ObservedS float64 `json:"observed_s"`
	// GapsPerS is how many gaps there were in a second.
	GapsPerS float64 `json:"gaps_per_s"`
	// LostShare is the part of the time that lay in gaps, 0 to 1.
	LostShare float64 `json:"lost_share"`
	// Findings are what was found wrong with the host.
	Findings []Finding `json:"findings,omitempty"`
}

// Finding is one thing about the host that disturbs measurements.
type Finding struct {
	// Severity is "info", "warning" or "error".
	Severity string `json:"severity"`
	// What is wrong, what shows it, and how to mend it.
	What     string `json:"what"`
	Evidence string `json:"evidence,omitempty"`
	Fix      string `json:"fix,omitempty"`
}

// Report is a file of several results: what the main job writes.
type Report struct {
	Schema string `json:"schema"`
	// Host is where all results come from that don't say otherwise.
	Host    *Host    `json:"host"`
	Results []Result `json:"results"`
}

// peers is Peers with its default.
func (s Setting) peers() int {
	return max(s.Peers, 1)
}

// busy is Busy with its default.
func (s Setting) busy() int {
	if s.Busy == 0 {
		return s.peers()
	}
	return s.Busy
}

// normal returns s with the defaults written the short way, so that the same
// setting always compares equal.
func (s Setting) normal() Setting {
	s.Batch = max(s.Batch, 1)
	if s.busy() == s.peers() {
		s.Busy = 0
	}
	if s.peers() == 1 {
		s.Peers = 0
	}
	return s
}
