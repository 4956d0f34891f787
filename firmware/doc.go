// Package firmware holds cell.h, Cell on a microcontroller, to what it says: its
// tests compile it for this host (with sanitizers, against the vectors that the
// Go implementation is held to) and for Cortex-M (sizes, and a demo board in
// QEMU that Go programs call). There is no Go code in it besides.
package firmware
