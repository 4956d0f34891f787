// Package perf carries the sources of the C side of Cell's measurements
// (perf/limit, perf/xdpsock), so that cellbench can build them wherever gcc is. Nothing of
// it enters the product.
package perf

import "embed"

// Source is the C code, under limit/.
//
//go:embed limit/*.c limit/*.h
var Source embed.FS

// Sender is a program of its own, which floods from an AF_XDP socket.
//
//go:embed xdpsock/sender.c
var Sender []byte

// Units are the files that make up the program limit; dpdk.c is a program of
// its own.
var Units = []string{"main.c", "pingpong.c", "ring_rtt.c", "stream.c", "copy.c", "rig.c"}
