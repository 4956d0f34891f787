// SPDX-License-Identifier: GPL-2.0
// redirect takes UDP datagrams to one port to the AF_XDP socket of the queue on
// which they came, and passes everything else to the kernel: who cuts this off
// must not be able to cut off anything else.
#include "frame.h"

#define MAX_QUEUES 64

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, MAX_QUEUES);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

// The UDP port, in host byte order; 0, which no datagram is for, redirects none.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} port SEC(".maps");

enum { REDIRECTED, NO_SOCKET, FRAGMENT, OTHER, COUNTERS };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

INLINE int count(__u32 which, int verdict)
{
	__u64 *n = map_lookup(&counters, &which);
	if (n)
		(*n)++;
	return verdict;
}

#ifdef TIMED
// stamp puts the kernel's time (CLOCK_MONOTONIC, nanoseconds) before the packet,
// where the socket's reader finds it: what stands there is copied with it.
INLINE int stamp(struct xdp_md *ctx)
{
	if (adjust_meta(ctx, -(int)sizeof(__u64)))
		return 0; // a driver without room for it
	__u64 *at = (void *)(long)ctx->data_meta;
	if ((void *)(at + 1) > (void *)(long)ctx->data)
		return 0;
	*at = ktime();
	return 1;
}
#endif

SEC("xdp")
int redirect(struct xdp_md *ctx)
{
	__u8 *p = (__u8 *)(long)ctx->data, *end = (__u8 *)(long)ctx->data_end;
	struct eth *eth = (void *)p;
	if ((__u8 *)(eth + 1) > end)
		return count(OTHER, XDP_PASS);
	p = (__u8 *)(eth + 1);
	__u16 proto = eth->proto;
	if (proto == net16(0x8100) || proto == net16(0x88a8)) {
		struct vlan *tag = (void *)p;
		if ((__u8 *)(tag + 1) > end)
			return count(OTHER, XDP_PASS);
		proto = tag->proto;
		p = (__u8 *)(tag + 1);
	}
	if (proto == net16(0x0800)) {
		struct ip4 *ip = (void *)p;
		// Options are for the kernel.
		if ((__u8 *)(ip + 1) > end || ip->vhl != 0x45 || ip->proto != 17)
			return count(OTHER, XDP_PASS);
		// So is putting fragments together.
		if (ip->off & net16(0x3fff))
			return count(FRAGMENT, XDP_PASS);
		p = (__u8 *)(ip + 1);
	} else if (proto == net16(0x86dd)) {
		struct ip6 *ip = (void *)p;
		// Extension headers, of which fragments are one, are for the kernel.
		if ((__u8 *)(ip + 1) > end || (*(__u8 *)ip >> 4) != 6)
			return count(OTHER, XDP_PASS);
		if (ip->next == 44)
			return count(FRAGMENT, XDP_PASS);
		if (ip->next != 17)
			return count(OTHER, XDP_PASS);
		p = (__u8 *)(ip + 1);
	} else {
		return count(OTHER, XDP_PASS);
	}
	struct udp *udp = (void *)p;
	if ((__u8 *)(udp + 1) > end)
		return count(OTHER, XDP_PASS);
	__u32 zero = 0, *want = map_lookup(&port, &zero);
	if (!want || !*want || net16(udp->dst) != *want)
		return count(OTHER, XDP_PASS);
	// XDP_PASS where the queue has no socket (Linux 5.3).
	int verdict = redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS);
#ifdef TIMED
	// A reader could not tell what stands there otherwise.
	if (verdict == XDP_REDIRECT && !stamp(ctx))
		return count(OTHER, XDP_PASS);
#endif
	return count(verdict == XDP_REDIRECT ? REDIRECTED : NO_SOCKET, verdict);
}

char _license[] SEC("license") = "GPL";
