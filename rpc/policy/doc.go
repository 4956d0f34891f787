// Package policy says what a client does about calls that are slow, fail, or
// are too many: deadlines, retries with a budget, hedging, circuit breakers,
// limits of concurrency and rate, and fallbacks, for a client as a whole and
// for single methods.
//
//	with, err := policy.New(policy.Options{
//		Client: policy.Policy{
//			Deadline: 100 * time.Millisecond,
//			Retry:    &policy.Retry{Attempts: 3, Budget: budget},
//			Breaker:  breaker,
//		},
//		Methods: map[string]policy.Policy{"Ledger.Post": {Rate: rate}},
//	})
//	client := NewLedgerClient(rpc.Wrap(conn, with))
//
// From outside in, a call goes through
//
//	fallback → deadline → retry → hedge → breaker → rate → concurrency → connection
//
// so a deadline covers every wait and attempt, and whatever is sent to the
// server, first attempt or not, is counted by the limits and seen by the
// breaker.
//
// Two rules hold whatever is configured. A call is sent again only if its
// outcome says that it was not executed, or if its method is idempotent (see
// [Resendable]). And what has no policy costs nothing: [New] with empty
// options returns a middleware that hands back the caller it is given.
//
// docs/POLICY.md has the cost of each policy, and the reasons for what is this
// package's own and what is failsafe-go's.
package policy
