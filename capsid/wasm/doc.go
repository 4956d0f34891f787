// Package wasm runs cells that are WebAssembly modules, on wazero.
//
// In the node's process, [Engine] makes instances from a compiled module in
// about ten microseconds each: an instance has memory of its own, bounded, and
// no way to anything but the calls that it answers. For modules that are not
// trusted to end by themselves there is the backend "wasm" of package capsid: it
// runs the same engine in a process of its own inside another backend's walls,
// where it can be killed at any time. docs/CAPSID.md says when to use which.
//
// A guest has no imports but cell.log, so no files, sockets, clocks, random
// numbers or environment. It exports
//
//	memory
//	cell_buffer(size i32) -> i32                   where a request of that size goes, 0 if nowhere
//	cell_call(fingerprint i64, size i32) -> i64    answers it: address << 32 | size of the reply, or
//	                                               -status of wire, a negative number
//
// Requests are built and replies are read in the guest's memory, by the views
// that cellgen makes. What a guest says of places and sizes is bounded before it
// is believed.
package wasm
