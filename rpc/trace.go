package rpc

import (
	"context"
	"crypto/sha256"
	"encoding/binary"

	"github.com/cell-runtime/cell/wire"
)

// Tracing context travels as an extension: an event on the operations channel
// in front of the request, with the same correlation and the W3C traceparent
// as its payload (https://www.w3.org/TR/trace-context/#traceparent-header).
// Calls without one pay nothing for it. On a link that loses or reorders
// vesicles it may be lost; a call never is because of it.

// traceparentFingerprint is the first 8 bytes, little endian, of SHA-256 over
// "cell extension 1 traceparent".
var traceparentFingerprint = func() uint64 {
	sum := sha256.Sum256([]byte("cell extension 1 traceparent"))
	return binary.LittleEndian.Uint64(sum[:])
}()

// maxTraceparent bounds the text in bytes. Version 00 has 55; later versions
// may append to it.
const maxTraceparent = 128

type traceparentKey struct{}

// WithTraceparent returns a context that carries a W3C traceparent, which
// connections with ConnOptions.Traceparent set to [Traceparent] pass on.
func WithTraceparent(ctx context.Context, traceparent string) context.Context {
	return context.WithValue(ctx, traceparentKey{}, traceparent)
}

// Traceparent returns the W3C traceparent of a context: what
// [WithTraceparent] put there or, in a handler, what the caller sent. It is ""
// if there is none.
func Traceparent(ctx context.Context) string {
	t, _ := ctx.Value(traceparentKey{}).(string)
	return t
}

// Traceparent returns the caller's W3C traceparent, "" if it sent none.
func (c *Call) Traceparent() string { return c.link.trace.of(c.header.Correlation) }

// traceOf is the tracing context of the request that comes next.
type traceOf struct {
	correlation uint32
	text        string
}

func (t *traceOf) of(correlation uint32) string {
	if t.correlation != correlation {
		return ""
	}
	return t.text
}

// extension takes what precedes a request.
func (s *serverLink) extension(h *wire.Header, payload []byte) {
	if h.Kind == wire.KindEvent && h.Fingerprint == traceparentFingerprint && len(payload) <= maxTraceparent {
		s.trace = traceOf{h.Correlation, string(payload)}
	}
}

// traceMessage is the payload of the extension.
type traceMessage string

func (m traceMessage) SizeCell() int                    { return len(m) }
func (m traceMessage) EncodeCell(b []byte) (int, error) { return copy(b, m), nil }
