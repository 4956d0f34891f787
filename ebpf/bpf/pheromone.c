// SPDX-License-Identifier: GPL-2.0
// pheromone looks at the datagrams to the port of discovery and lets those pass
// to the kernel that may be beacons of this cluster; the others it drops and
// counts, each by its reason. What is for other ports it leaves alone.
//
// It verifies no signature. What it drops user space would drop too, but for
// the limits of rate: so it decides nothing, it saves work.
//
// Two entries, one judgement: XDP, before the kernel has made a packet of the
// frame, and tcx, behind that, where XDP can't be had.
#include "frame.h"

// A beacon begins so (numbers little-endian) and ends with its signature.
struct beacon {
	__u32 magic; // "CELP"
	__u8 version, kind;
	__u16 length; // of all of it
	__u64 cluster;
	__u8 node[32];
	__u64 incarnation, counter;
	__u8 flags, hops; // over how many links others may pass it on
} __attribute__((packed));

#define SIGNATURE 64
#define SHORTEST 168

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define MAGIC 0x504c4543
#else
#define MAGIC 0x43454c50
#endif

// reasons; up to OTHER the packet passes. The Go side has the same list.
enum { ACCEPTED, OTHER, FRAGMENT, HEADERS, LENGTH, WRONG_MAGIC, VERSION, CLUSTER, HOPS, OLD, REPLAY, RATE, STRANGERS, REASONS };

// CUT goes with a reason that is one only because the frame ended too early for
// another; nothing has been noted then.
#define CUT 0x100

struct rules {
	__u64 cluster;    // 0: any
	__u64 interval;   // ns between beacons of a source in the long run; 0: no limit
	__u64 tolerance;  // ns by which a source may be ahead of that
	__u64 newcomers;  // the same two for beacons of sources not seen before
	__u64 crowd;
	__u16 port;       // 0: none
	__u16 longest;
	__u8 version;
	__u8 left;        // the least that the IP header must have left of hops
	__u8 hops;        // the most that the beacon may say
	__u8 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct rules);
} rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASONS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

struct address { __u64 half[2]; };

// When each source will have used up what its rate allows (GCRA, ITU-T I.371).
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct address);
	__type(value, __u64);
} sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} newcomers SEC(".maps");

// A beacon that went by. The signature belongs to it: were it the counter alone,
// anybody who guesses the next one could have the genuine beacon dropped.
struct mark { __u64 half[(32 + 8 + 8 + SIGNATURE) / 8]; };

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct mark);
	__type(value, __u8);
} seen SEC(".maps");

// Up to where user space has verified the beacons of each node.
struct node { __u64 half[4]; };
struct floor { __u64 incarnation, counter; };
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct node);
	__type(value, struct floor);
} floors SEC(".maps");

// frame is what is judged. What lies at a place that isn't known beforehand is
// read by helpers: without CAP_PERFMON the verifier takes no pointer into a packet
// to which a variable was added.
struct frame {
	const void *ctx;
	int xdp;
	const __u8 *data, *end;
};

INLINE long load(const struct frame *f, __u32 offset, void *to, __u32 len)
{
	return f->xdp ? xdp_load(f->ctx, offset, to, len) : skb_load(f->ctx, offset, to, len);
}

// late says whether a stream that has used up its rate until *until may not have
// another beacon now, and notes it otherwise. Two CPUs at once may each let one
// pass where one was meant; to prevent that would cost a locked instruction.
INLINE int late(__u64 *until, __u64 now, __u64 interval, __u64 tolerance)
{
	__u64 from = *until;
	if (from < now)
		from = now;
	if (from - now > tolerance)
		return 1;
	*until = from + interval;
	return 0;
}

INLINE __u32 too_fast(const struct rules *r, const struct address *source)
{
	if (!r->interval)
		return ACCEPTED;
	__u64 now = ktime(), *until = map_lookup(&sources, source);
	if (until)
		return late(until, now, r->interval, r->tolerance) ? RATE : ACCEPTED;
	// Forged sources are all new: together they have one rate.
	__u32 zero = 0;
	__u64 *all = map_lookup(&newcomers, &zero);
	if (all && r->newcomers && late(all, now, r->newcomers, r->crowd))
		return STRANGERS;
	__u64 first = now + r->interval;
	map_update(&sources, source, &first, 0);
	return ACCEPTED;
}

// judge_beacon judges the payload of a datagram to the port, which is at p, or at
// in the frame.
INLINE __u32 judge_beacon(const struct frame *f, const struct rules *r, const __u8 *p, __u32 at, __u32 size, __u8 left, const struct address *source)
{
	const struct beacon *b = (const void *)p;
	if (size < SHORTEST || size > r->longest)
		return LENGTH;
	if (p + SHORTEST > f->end)
		return LENGTH | CUT;
	if (b->magic != MAGIC)
		return WRONG_MAGIC;
	if (b->version != r->version)
		return VERSION;
	if (little16(b->length) != size)
		return LENGTH;
	if (r->cluster && b->cluster != r->cluster)
		return CLUSTER;
	if (left < r->left || b->hops > r->hops)
		return HOPS;

	struct mark m;
	const __u64 *from = (const __u64 *)b->node;
#pragma unroll
	for (int i = 0; i < 6; i++)
		m.half[i] = from[i];
	if (load(f, at + size - SIGNATURE, &m.half[6], SIGNATURE))
		return LENGTH | CUT;

	const struct floor *least = map_lookup(&floors, &m);
	if (least) {
		__u64 incarnation = little64(m.half[4]), counter = little64(m.half[5]);
		if (incarnation < least->incarnation || (incarnation == least->incarnation && counter <= least->counter))
			return OLD;
	}
	// Before the rate, so that who repeats a node's beacons doesn't use up what
	// is that node's.
	if (map_lookup(&seen, &m))
		return REPLAY;
	__u32 reason = too_fast(r, source);
	if (reason == ACCEPTED) {
		__u8 one = 1;
		map_update(&seen, &m, &one, 0);
	}
	return reason;
}

INLINE __u32 judge_udp(const struct frame *f, const struct rules *r, const __u8 *p, __u32 at, __u8 left, const struct address *source)
{
	const struct udp *udp = (const void *)p;
	if (p + sizeof *udp > f->end)
		return OTHER | CUT;
	if (net16(udp->dst) != r->port)
		return OTHER;
	__u32 size = net16(udp->len);
	if (size < sizeof *udp)
		return LENGTH;
	return judge_beacon(f, r, p + sizeof *udp, at + sizeof *udp, size - sizeof *udp, left, source);
}

// hidden returns reason for UDP to the port.
INLINE __u32 hidden(const struct frame *f, const struct rules *r, __u32 at, __u32 reason)
{
	struct udp udp;
	if (load(f, at, &udp, sizeof udp))
		return OTHER | CUT;
	return net16(udp.dst) == r->port ? reason : OTHER;
}

struct extension { __u8 next, words; __u16 offset; __u32 more; };

// behind judges what has IPv6 extension headers in front: no beacon has any, but
// the kernel would give it to the socket.
INLINE __u32 behind(const struct frame *f, const struct rules *r, __u32 at, __u8 next)
{
#pragma unroll
	for (int i = 0; i < 4; i++) {
		struct extension e;
		if (next != NEXT_HOP_BY_HOP && next != NEXT_ROUTING && next != NEXT_OPTIONS && next != NEXT_FRAGMENT)
			return OTHER;
		if (load(f, at, &e, sizeof e))
			return OTHER | CUT;
		if (next == NEXT_FRAGMENT) {
			// Only the first fragment shows the port; without it the
			// kernel puts nothing together.
			if (e.offset & net16(0xfff8) || e.next != NEXT_UDP)
				return OTHER;
			return hidden(f, r, at + sizeof e, FRAGMENT);
		}
		next = e.next;
		at += (e.words + 1) * 8;
		if (next == NEXT_UDP)
			return hidden(f, r, at, HEADERS);
	}
	return OTHER;
}

INLINE __u32 judge_ip4(const struct frame *f, const struct rules *r, const __u8 *p, __u32 at)
{
	const struct ip4 *ip = (const void *)p;
	if (p + sizeof *ip > f->end)
		return OTHER | CUT;
	if (ip->vhl >> 4 != 4 || ip->proto != NEXT_UDP || ip->off & net16(0x1fff))
		return OTHER;
	__u32 words = ip->vhl & 15;
	if (words < 5)
		return OTHER;
	if (words > 5 || ip->off & net16(0x2000))
		return hidden(f, r, at + words * 4, words > 5 ? HEADERS : FRAGMENT);
	struct address source = {};
	__u32 *word = (__u32 *)&source;
	((__u16 *)&source)[5] = 0xffff; // mapped into IPv6 (RFC 4291)
	word[3] = ip->src;
	return judge_udp(f, r, p + sizeof *ip, at + sizeof *ip, ip->ttl, &source);
}

INLINE __u32 judge_ip6(const struct frame *f, const struct rules *r, const __u8 *p, __u32 at)
{
	const struct ip6 *ip = (const void *)p;
	if (p + sizeof *ip > f->end)
		return OTHER | CUT;
	if (*p >> 4 != 6)
		return OTHER;
	if (ip->next != NEXT_UDP)
		return behind(f, r, at + sizeof *ip, ip->next);
	struct address source;
	const __u64 *from = (const __u64 *)ip->src;
	source.half[0] = from[0];
	source.half[1] = from[1];
	return judge_udp(f, r, p + sizeof *ip, at + sizeof *ip, ip->hops, &source);
}

// judge returns the reason for what is done with a frame.
INLINE __u32 judge(const struct frame *f, int tagged)
{
	const __u8 *p = f->data;
	const struct eth *eth = (const void *)p;
	if (p + sizeof *eth > f->end)
		return OTHER | CUT;
	__u16 proto = eth->proto;
	__u32 at = sizeof *eth;
	p += sizeof *eth;
	if (!tagged && (proto == ETHERTYPE_VLAN || proto == ETHERTYPE_QINQ)) {
		const struct vlan *tag = (const void *)p;
		if (p + sizeof *tag > f->end)
			return OTHER | CUT;
		proto = tag->proto;
		p += sizeof *tag;
		at += sizeof *tag;
	}
	__u32 zero = 0;
	const struct rules *r = map_lookup(&rules, &zero);
	if (!r || !r->port)
		return OTHER;
	if (proto == ETHERTYPE_IP4)
		return judge_ip4(f, r, p, at);
	if (proto == ETHERTYPE_IP6)
		return judge_ip6(f, r, p, at);
	return OTHER;
}

INLINE int decide(__u32 reason, int pass, int drop)
{
	reason &= ~CUT;
	__u64 *n = map_lookup(&counters, &reason);
	if (n)
		(*n)++;
	return reason <= OTHER ? pass : drop;
}

SEC("xdp")
int pheromone_xdp(struct xdp_md *ctx)
{
	struct frame f = { ctx, 1, (void *)(long)ctx->data, (void *)(long)ctx->data_end };
	return decide(judge(&f, 0), XDP_PASS, XDP_DROP);
}

// What lies in front of a beacon, and of it what is looked at in place.
#define LOOKED_AT (14 + 4 + 40 + 8 + SHORTEST)

SEC("tcx/ingress")
int pheromone_tcx(struct __sk_buff *skb)
{
	struct frame f = { skb, 0, (void *)(long)skb->data, (void *)(long)skb->data_end };
	__u32 reason = judge(&f, skb->vlan_present);
	// A packet may lie in pieces, of which only the first was seen. To pull it
	// together may copy it, so that is done only where it matters.
	if (reason & CUT) {
		skb_pull(skb, skb->len < LOOKED_AT ? skb->len : LOOKED_AT);
		f.data = (void *)(long)skb->data;
		f.end = (void *)(long)skb->data_end;
		reason = judge(&f, skb->vlan_present);
	}
	return decide(reason, TCX_NEXT, TCX_DROP);
}

char _license[] SEC("license") = "GPL";
