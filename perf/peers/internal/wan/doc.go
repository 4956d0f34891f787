// Package wan makes two hosts of network namespaces with a long and lossy way
// between them, for measuring without one: a TUN device in each, whose packets
// this process takes, delays, loses and reorders. It needs root, and touches
// nothing outside the namespaces that it makes, which the kernel removes with
// this process and those that it starts there.
//
// Linux has netem for this; it is a module that many machines lack.
package wan
