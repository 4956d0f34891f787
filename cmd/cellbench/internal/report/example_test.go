package report_test

import (
	"fmt"
	"os"
	"time"

	"github.com/cell-runtime/cell/cmd/cellbench/internal/report"
)

// Two rounds of a stream, each beside its limit; in the second the host was
// half as fast, which the ratio doesn't see.
func ExampleCombine() {
	stream := report.Setting{Kind: report.KindStream, Link: "ring", Size: 64, Payload: 40, Batch: 32, Wait: "spin", Loop: report.Closed}
	limit := report.Setting{Kind: report.KindLimit, Link: "c-ring", Size: 64, Payload: 64, Batch: 32, Wait: "spin", Loop: report.Closed}
	moved := func(count uint64, payload uint64) report.Sample {
		return report.Sample{Count: count, Bytes: count * payload, Elapsed: time.Second}
	}
	got1, got2 := moved(180e6, 40), moved(90e6, 40)
	limit1, limit2 := moved(200e6, 64), moved(100e6, 64)
	result, err := report.Combine(stream, limit, []report.Round{{Got: got1, Limit: &limit1}, {Got: got2, Limit: &limit2}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(result.Setting)
	fmt.Printf("%s, %.2f of the limit\n", report.FormatMsgs(*result.MsgsPerS), *result.RatioMsgs)
	// Output:
	// stream ring 64 B (40 of payload) batch 32 spin closed loop
	// 135 M/s, 0.90 of the limit
}

func ExampleWriteTable() {
	result, err := report.Combine(
		report.Setting{Kind: report.KindRTT, Link: "ring", Size: 64, Payload: 40, Wait: "spin", Loop: report.Closed},
		report.Setting{Kind: report.KindLimit, Link: "cacheline", Loop: report.Closed},
		[]report.Round{{
			Got:   report.Sample{Times: report.FromSamples([]float64{110, 112, 112, 190})},
			Limit: &report.Sample{Times: report.FromSamples([]float64{104, 105, 106, 170})},
		}})
	if err != nil {
		fmt.Println(err)
		return
	}
	report.WriteTable(os.Stdout, []report.Result{result}, report.Style{})
	// Output:
	// Round trips, 64 B, wait spin, closed loop
	// link                 p50     max  p50/limit  in words
	// ring              112 ns  190 ns      1.07×  6.7 % above the limit
	// limit: cacheline  105 ns  170 ns
}

func ExampleParseRate() {
	rate, err := report.ParseRate("50K")
	fmt.Println(rate, err)
	_, err = report.ParseRate("fast")
	fmt.Println(err)
	// Output:
	// 50000 <nil>
	// rate is neither "max" nor a positive number of messages per second: "fast"; write max, 50000 or 2M
}
