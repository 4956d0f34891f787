package measure

import (
	"bufio"
	"encoding/json"
	"io"
)

// maxLine bounds a job or an answer.
const maxLine = 1 << 20

// lines reads and writes JSON values, one a line.
type lines struct {
	in  *bufio.Scanner
	out io.Writer
}

func newLines(r io.Reader, w io.Writer) *lines {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 4096), maxLine)
	return &lines{s, w}
}

func (l *lines) send(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = l.out.Write(append(b, '\n'))
	return err
}

// receive returns io.EOF at the end of the input.
func (l *lines) receive(v any) error {
	if !l.in.Scan() {
		if err := l.in.Err(); err != nil {
			return err
		}
		return io.EOF
	}
	return json.Unmarshal(l.in.Bytes(), v)
}

// end waits for the end of the input.
func (l *lines) end() {
	for l.in.Scan() {
	}
}
