/* SPDX-License-Identifier: GPL-2.0 */
/* What the programs have in common: what they need of linux/bpf.h, and the
 * fronts of frames. No header of the system is included, so that the objects are
 * the same wherever they are compiled. */
#ifndef CELL_FRAME_H
#define CELL_FRAME_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;

enum xdp_action { XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX, XDP_REDIRECT };
enum { TCX_NEXT = -1, TCX_PASS = 0, TCX_DROP = 2 };
enum { SK_DROP, SK_PASS };

enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_XSKMAP = 17,
	BPF_MAP_TYPE_REUSEPORT_SOCKARRAY = 20,
};

/* The contexts, as far as they are used. */
struct xdp_md { __u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index; };
struct __sk_buff {
	__u32 len, pkt_type, mark, queue_mapping, protocol, vlan_present, vlan_tci, vlan_proto, priority;
	__u32 ingress_ifindex, ifindex, tc_index, cb[5], hash, tc_classid, data, data_end;
};

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define __uint(name, val) int(*name)[val]
#define __type(name, val) typeof(val) *name

struct sk_reuseport_md {
	void *data __attribute__((aligned(8)));
	void *data_end __attribute__((aligned(8)));
	__u32 len, eth_protocol, ip_protocol, bind_inany, hash;
};

/* Helpers of the kernel, by their numbers. */
static void *(*map_lookup)(void *map, const void *key) = (void *)1;
static long (*map_update)(void *map, const void *key, const void *value, __u64 flags) = (void *)2;
static __u64 (*ktime)(void) = (void *)5;
static int (*adjust_meta)(struct xdp_md *xdp, int delta) = (void *)54;
static long (*skb_load)(const void *skb, __u32 offset, void *to, __u32 len) = (void *)26;
static long (*xdp_load)(const void *xdp, __u32 offset, void *to, __u32 len) = (void *)189;
static long (*skb_pull)(struct __sk_buff *skb, __u32 len) = (void *)39;
static long (*redirect_map)(void *map, __u64 key, __u64 flags) = (void *)51;

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define net16(x) __builtin_bswap16(x)
#define little16(x) (x)
#define little64(x) (x)
#else
#define net16(x) (x)
#define little16(x) __builtin_bswap16(x)
#define little64(x) __builtin_bswap64(x)
#endif

#define ETHERTYPE_IP4 net16(0x0800)
#define ETHERTYPE_IP6 net16(0x86dd)
#define ETHERTYPE_VLAN net16(0x8100)
#define ETHERTYPE_QINQ net16(0x88a8)

#define NEXT_HOP_BY_HOP 0
#define NEXT_UDP 17
#define NEXT_ROUTING 43
#define NEXT_FRAGMENT 44
#define NEXT_OPTIONS 60

struct eth { __u8 dst[6], src[6]; __u16 proto; } __attribute__((packed));
struct vlan { __u16 tci, proto; } __attribute__((packed));
struct ip4 { __u8 vhl, tos; __u16 len, id, off; __u8 ttl, proto; __u16 sum; __u32 src, dst; } __attribute__((packed));
struct ip6 { __u32 flow; __u16 len; __u8 next, hops; __u8 src[16], dst[16]; } __attribute__((packed));
struct udp { __u16 src, dst, len, sum; } __attribute__((packed));

#endif
