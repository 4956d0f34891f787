// Package ebpf has the programs that Cell attaches to network interfaces, and
// loads and attaches them without clang: the C sources lie in bpf/, the objects
// are committed and compiled into the program.
//
// [Redirect] takes the datagrams of one UDP port to AF_XDP sockets; [Pheromone]
// keeps from the port of discovery what is no beacon of this cluster, and
// [Screen] does the same in user space. Everything else they leave to the
// kernel. [Steer] gives datagrams to the socket that owns their sender. The first
// two are attached by bpf_links: when the process that holds one ends,
// however it ends, nothing stays behind. A program that somebody else has
// attached is never replaced; [ErrOccupied] names it. docs/EBPF.md has more.
package ebpf

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang -target bpfel,bpfeb -cflags "-O2 -g0 -Wall -Werror" -no-global-types redirect bpf/redirect.c -- -Ibpf
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang -target bpfel,bpfeb -cflags "-O2 -g0 -Wall -Werror" -no-global-types timed bpf/timed.c -- -Ibpf
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang -target bpfel,bpfeb -cflags "-O2 -g0 -Wall -Werror" -no-global-types pheromone bpf/pheromone.c -- -Ibpf
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang -target bpfel,bpfeb -cflags "-O2 -g0 -Wall -Werror" -no-global-types steer bpf/steer.c -- -Ibpf
