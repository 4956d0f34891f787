// sender floods one queue of an interface from an AF_XDP socket in copy mode, as
// xdpsock of the kernel's samples does with -t: the yardstick in C for
// afxdp/xsk. It needs neither libxdp nor libbpf.
//
//	sender IFINDEX QUEUE CPU BATCH <FRAME
//
// It ends when it is killed, or with its parent.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/if_xdp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FRAMES = 1024, FRAME_SIZE = 2048, RING = 512, MOST = 256 };

struct ring {
	uint32_t *producer, *consumer, *flags;
	void *entries;
};

static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static struct ring map(int fd, uint64_t page, const struct xdp_ring_offset *o, size_t entry)
{
	char *m = mmap(NULL, o->desc + RING * entry, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, (off_t)page);
	if (m == MAP_FAILED)
		die("mapping a ring");
	struct ring r = { (void *)(m + o->producer), (void *)(m + o->consumer), (void *)(m + o->flags), m + o->desc };
	return r;
}

static void set(int fd, int option, const void *value, socklen_t size, const char *what)
{
	if (setsockopt(fd, SOL_XDP, option, value, size))
		die(what);
}

int main(int argc, char **argv)
{
	if (argc != 5)
		return fprintf(stderr, "sender IFINDEX QUEUE CPU BATCH <FRAME\n"), 2;
	uint32_t batch = (uint32_t)atoi(argv[4]);
	if (batch < 1 || batch > MOST)
		return fprintf(stderr, "BATCH is 1 to %d\n", MOST), 2;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	cpu_set_t cpus;
	CPU_ZERO(&cpus);
	CPU_SET(atoi(argv[3]), &cpus);
	if (sched_setaffinity(0, sizeof cpus, &cpus))
		die("pinning");
	char *umem = mmap(NULL, FRAMES * FRAME_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (umem == MAP_FAILED)
		die("memory");
	ssize_t length = read(0, umem, FRAME_SIZE);
	if (length < 14)
		die("reading the frame");
	uint64_t spare[FRAMES];
	uint32_t spares = FRAMES;
	for (uint32_t i = 0; i < FRAMES; i++) {
		memmove(umem + i * FRAME_SIZE, umem, (size_t)length);
		spare[i] = i * FRAME_SIZE;
	}
	int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("socket");
	struct xdp_umem_reg reg = { .addr = (uintptr_t)umem, .len = FRAMES * FRAME_SIZE, .chunk_size = FRAME_SIZE };
	int size = RING;
	set(fd, XDP_UMEM_REG, &reg, sizeof reg, "registering memory");
	set(fd, XDP_UMEM_FILL_RING, &size, sizeof size, "fill ring");
	set(fd, XDP_UMEM_COMPLETION_RING, &size, sizeof size, "completion ring");
	set(fd, XDP_TX_RING, &size, sizeof size, "tx ring");
	struct xdp_mmap_offsets off;
	socklen_t offSize = sizeof off;
	if (getsockopt(fd, SOL_XDP, XDP_MMAP_OFFSETS, &off, &offSize))
		die("offsets");
	struct ring tx = map(fd, XDP_PGOFF_TX_RING, &off.tx, sizeof(struct xdp_desc));
	struct ring done = map(fd, XDP_UMEM_PGOFF_COMPLETION_RING, &off.cr, sizeof(uint64_t));
	struct sockaddr_xdp at = { .sxdp_family = AF_XDP, .sxdp_flags = XDP_COPY | XDP_USE_NEED_WAKEUP,
		.sxdp_ifindex = (uint32_t)atoi(argv[1]), .sxdp_queue_id = (uint32_t)atoi(argv[2]) };
	// Whoever had the queue lets go of it some 30 ms after its end.
	for (int i = 0; bind(fd, (struct sockaddr *)&at, sizeof at); i++) {
		if (errno != EBUSY || i == 250)
			die("bind");
		usleep(2000);
	}
	struct xdp_desc *out = tx.entries;
	uint64_t *back = done.entries;
	uint32_t sent = 0, reaped = 0;
	for (;;) {
		uint32_t there = __atomic_load_n(done.producer, __ATOMIC_ACQUIRE);
		for (; reaped != there; reaped++)
			spare[spares++] = back[reaped % RING];
		__atomic_store_n(done.consumer, reaped, __ATOMIC_RELEASE);
		uint32_t room = RING - (sent - __atomic_load_n(tx.consumer, __ATOMIC_ACQUIRE));
		uint32_t n = batch < room ? batch : room;
		n = n < spares ? n : spares;
		for (uint32_t i = 0; i < n; i++, sent++)
			out[sent % RING] = (struct xdp_desc){ .addr = spare[--spares], .len = (uint32_t)length };
		__atomic_store_n(tx.producer, sent, __ATOMIC_RELEASE);
		if (__atomic_load_n(tx.flags, __ATOMIC_RELAXED) & XDP_RING_NEED_WAKEUP &&
		    sendto(fd, NULL, 0, MSG_DONTWAIT, NULL, 0) < 0 &&
		    errno != EAGAIN && errno != EBUSY && errno != ENOBUFS && errno != EINTR && errno != ENETDOWN)
			die("sendto");
	}
}
