// Package measure runs a product's server and client in two processes and
// measures what the client does.
//
// Both are this program again, started with [ServeArg] and [CallArg]. Each gets
// one [job] as a line of JSON on its standard input and answers in one line on
// descriptor 3 (what a product prints goes elsewhere and is shown if it fails).
// Each ends when its standard input does, so that neither outlives the process
// that started it, however that ends.
package measure
