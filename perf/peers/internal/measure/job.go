package measure

import (
	"fmt"
	"os"
	"time"

	"github.com/cell-runtime/cell/perf/peers/internal/peer"
	"github.com/cell-runtime/cell/perf/peers/internal/report"
)

// Hidden first arguments that make the program a child.
const (
	ServeArg = "_serve"
	CallArg  = "_call"
)

// answerFD is where a child writes its answer.
const answerFD = 3

// job is what a child is told.
type job struct {
	Peer   string        `json:"peer"`
	Work   peer.Work     `json:"work"`
	Size   int           `json:"size"`
	Dir    string        `json:"dir"`              // of the sockets; the server makes it
	Addr   string        `json:"addr,omitempty"`   // client: where the server is
	Server int           `json:"server,omitempty"` // client: its process, for its time
	Warmup time.Duration `json:"warmup,omitempty"`
	Length time.Duration `json:"length,omitempty"`
}

func (j *job) setting() peer.Setting { return peer.Setting{Dir: j.Dir, Work: j.Work, Size: j.Size} }

// answer is what a child says.
type answer struct {
	Error  string         `json:"error,omitempty"`
	Addr   string         `json:"addr,omitempty"`   // server
	Sample *report.Sample `json:"sample,omitempty"` // client
}

// Child is the life of a child process; arg is ServeArg or CallArg. It returns
// the exit status.
func Child(arg string, adapters func(name string) (peer.Adapter, error)) int {
	out := os.NewFile(answerFD, "answers")
	if out == nil {
		fmt.Fprintf(os.Stderr, "%s is for this program's own use\n", arg)
		return 2
	}
	l := newLines(os.Stdin, out)
	var j job
	if err := l.receive(&j); err != nil {
		fmt.Fprintln(os.Stderr, "reading a job:", err)
		return 1
	}
	a, err := adapters(j.Peer)
	if err == nil && !a.Does(j.Work, j.Size) {
		err = fmt.Errorf("%s: %w", j.Peer, peer.ErrUnsupported)
	}
	if err == nil && arg == ServeArg {
		err = serve(a, &j, l)
	} else if err == nil {
		err = call(a, &j, l)
	}
	if err != nil {
		_ = l.send(answer{Error: err.Error()}) // the status says it too
		return 1
	}
	return 0
}
