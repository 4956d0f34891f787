// SPDX-License-Identifier: GPL-2.0
// steer gives each datagram to the socket that owns its sender, among sockets
// that share a port (SO_REUSEPORT), and what comes from strangers to one that
// answers them. Without it the kernel chooses by a hash of the addresses, and
// chooses otherwise whenever a socket comes or goes.
#include "frame.h"

#define MAX_SOCKETS 64

struct {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(max_entries, MAX_SOCKETS);
	__type(key, __u32);
	__type(value, __u64);
} sockets SEC(".maps");

// IPv4 is mapped into IPv6 (RFC 4291); the port is in network byte order.
struct peer { __u16 address[8], port, pad; };

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct peer);
	__type(value, __u32);
} owners SEC(".maps");

// Which socket strangers go to.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} porter SEC(".maps");

enum { OWNED, STRANGER, NO_SOCKET, COUNTERS };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

static long (*load_relative)(const void *ctx, __u32 offset, void *to, __u32 len, __u32 from) = (void *)68;
static long (*select_reuseport)(struct sk_reuseport_md *ctx, void *map, void *key, __u64 flags) = (void *)82;
#define FROM_NETWORK_HEADER 1

SEC("sk_reuseport")
int steer(struct sk_reuseport_md *ctx)
{
	struct peer p = {};
	long failed;
	if (ctx->eth_protocol == ETHERTYPE_IP4) {
		p.address[5] = 0xffff;
		failed = load_relative(ctx, 12, &p.address[6], 4, FROM_NETWORK_HEADER);
	} else {
		failed = load_relative(ctx, 8, &p.address, 16, FROM_NETWORK_HEADER);
	}
	const struct udp *udp = (const void *)ctx->data;
	if (!failed && (void *)(udp + 1) <= (void *)ctx->data_end)
		p.port = udp->src;

	__u32 zero = 0, which = STRANGER, *index = map_lookup(&owners, &p);
	if (index)
		which = OWNED;
	else
		index = map_lookup(&porter, &zero);
	__u32 chosen = index ? *index : 0;
	// What isn't chosen here the kernel chooses by its hash.
	if (select_reuseport(ctx, &sockets, &chosen, 0))
		which = NO_SOCKET;
	__u64 *n = map_lookup(&counters, &which);
	if (n)
		(*n)++;
	return SK_PASS;
}

char _license[] SEC("license") = "GPL";
