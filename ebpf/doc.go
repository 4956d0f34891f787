// Package ebpf has the programs that Cell attaches to network interfaces, and
// loads and attaches them without clang: the C sources lie in bpf/, the objects
// are committed and compiled into the program.
//
// There is one up to now, [Redirect], which takes the datagrams of one UDP port
// to AF_XDP sockets and leaves everything else to the kernel. It is attached by
// a bpf_link: when the process that holds it ends, however it ends, nothing
// stays behind. A program that somebody else has attached is never replaced;
// [ErrOccupied] names it.
package ebpf

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go@v0.22.0 -cc clang -target bpfel,bpfeb -cflags "-O2 -g0 -Wall -Werror" -no-global-types redirect bpf/redirect.c -- -Ibpf
