package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/wire"
)

const (
	maxBody = 64 << 10
	timeout = 3 * time.Second // of a call, with all calls that it makes
)

// call makes an HTTP handler of a typed call: parse reads the request, and the
// reply, or the error, is sent as JSON. The generated structs know their JSON.
func call[Q, R any](parse func(*http.Request) (Q, error), f func(context.Context, Q) (R, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		req, err := parse(r)
		if err != nil {
			answer(w, http.StatusBadRequest, failure{Status: wire.StatusInvalidArgument.String(), Message: err.Error()})
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), timeout) // ends with the HTTP client, too
		defer cancel()
		reply, err := f(ctx, req)
		if err != nil {
			status := rpc.StatusOf(err)
			answer(w, httpStatus(status), failure{Status: status.String(), Message: err.Error()})
			return
		}
		answer(w, http.StatusOK, reply)
	})
}

// fromBody reads a message from its JSON.
func fromBody[Q any](r *http.Request) (req Q, err error) {
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		return req, fmt.Errorf("the request's body: %w", err)
	}
	return req, nil
}

// failure is the body of an answer that is none.
type failure struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		log.Print(err)
	}
}

// httpStatus is the code that comes nearest to a status.
func httpStatus(s wire.Status) int {
	switch s {
	case wire.StatusInvalidArgument, wire.StatusOutOfRange:
		return http.StatusBadRequest
	case wire.StatusNotFound:
		return http.StatusNotFound
	case wire.StatusFailedPrecondition:
		return http.StatusConflict
	case wire.StatusResourceExhausted:
		return http.StatusTooManyRequests
	case wire.StatusUnavailable, wire.StatusDraining:
		return http.StatusServiceUnavailable // not executed: try again
	case wire.StatusPeerGone:
		return http.StatusBadGateway // perhaps executed
	case wire.StatusDeadlineExceeded:
		return http.StatusGatewayTimeout
	}
	return http.StatusInternalServerError
}
