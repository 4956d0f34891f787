package policy

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cell-runtime/cell/rpc"
)

// ErrOptions: an option can't be used; the message names it and its bounds.
var ErrOptions = errors.New("policy: unusable option")

// Options say which policies a client has.
type Options struct {
	// Client holds for every call of the client.
	Client Policy
	// Methods hold for single methods, by "Service.Method". A method's
	// Deadline, Retry, Hedge and Fallback stand in place of the client's; its
	// Breaker, Rate and Concurrency hold besides the client's, which are asked
	// first.
	Methods map[string]Policy
}

// Policy is what is done about calls. The zero value does nothing.
//
// Breaker, Rate and Concurrency are the state as well as the rule: in two
// places the same one counts the calls of both.
type Policy struct {
	// Deadline bounds a unary call or one-way request: all attempts, and every
	// wait between them and before them. An earlier one of the context's wins.
	// Streams and subscriptions live as long as their context. 0: none.
	Deadline time.Duration
	// Retry says how calls that failed are sent again.
	Retry *Retry
	// Hedge says when a unary call of an idempotent method that is slow is
	// sent a second time beside the first.
	Hedge *Hedge
	// Breaker refuses calls while the server is failing.
	Breaker *Breaker
	// Rate bounds the calls a second.
	Rate *Rate
	// Concurrency bounds the calls under way.
	Concurrency *Concurrency
	// Fallback answers unary calls that failed for reasons other than their
	// own.
	Fallback Fallback
}

// empty reports whether p does nothing.
func (p *Policy) empty() bool {
	return p.Deadline == 0 && p.Retry == nil && p.Hedge == nil && p.Breaker == nil &&
		p.Rate == nil && p.Concurrency == nil && p.Fallback == nil
}

func (p *Policy) check(where string) error {
	if p.Deadline < 0 {
		return fmt.Errorf("%w: %s.Deadline is %v; a duration above 0, or 0 for none", ErrOptions, where, p.Deadline)
	}
	if p.Retry != nil {
		if err := p.Retry.check(where); err != nil {
			return err
		}
	}
	if p.Hedge != nil {
		if err := p.Hedge.check(where); err != nil {
			return err
		}
	}
	return nil
}

// New returns a middleware that applies policies to a caller. What it returns
// may be used for several callers, which share its breakers and limits then.
// Error: ErrOptions.
func New(o Options) (rpc.ClientMiddleware, error) {
	if err := o.Client.check("Client"); err != nil {
		return nil, err
	}
	methods := make(map[string]*plan, len(o.Methods))
	for name, p := range o.Methods {
		if service, method, ok := strings.Cut(name, "."); !ok || service == "" || method == "" {
			return nil, fmt.Errorf("%w: Methods has %q; a method is named Service.Method", ErrOptions, name)
		}
		if err := p.check("Methods[" + name + "]"); err != nil {
			return nil, err
		}
		methods[name] = newPlan(&o.Client, &p)
	}
	all := newPlan(&o.Client, nil)
	if all == nil && len(methods) == 0 {
		return func(next rpc.Caller) rpc.Caller { return next }, nil
	}
	return func(next rpc.Caller) rpc.Caller { return newCaller(next, all, methods) }, nil
}
