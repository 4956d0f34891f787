/* limit-dpdk measures DPDK's rte_ring beside Cell's ring: same records, same
 * cores, same JSON. Two lcores of one process, which is to rte_ring's favour,
 * exchange 64-byte objects through SPSC rings: as 8-byte pointers, which is how
 * DPDK is used, or (--mode elem) by value. --ring is the bytes of the records
 * that fit, as in limit: a place for each 64 of them. Optional: built only where
 * pkg-config knows libdpdk. */
#define _GNU_SOURCE
#include "flow.h"
#include "ring.h"

#include <sys/types.h> /* first: rte_ring.h uses ssize_t without it */

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_ring.h>
#include <rte_ring_elem.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST = 512 }; /* of a batch */

struct object { /* a record as in ring.h: commit word unused, header, payload */
	_Alignas(LINE) unsigned char bytes[LINE];
};

struct run {
	const struct options *o;
	struct rte_ring *there, *back;
	struct object *objects; /* twice as many as places in a ring */
	uint64_t places;
	struct flow *flow;
	struct hist *hist;
	uint64_t elapsed;
	unsigned char *source;
	bool elem;
};

static void fill(struct object *at, const struct run *r, uint32_t correlation, uint8_t flags)
{
	struct header h = {.length = LINE - PAYLOAD_AT, .fingerprint = 0x0102030405060708,
			   .correlation = correlation, .version_kind = VERSION_EVENT,
			   .flags = flags, .hops = 8};
	header_store(at->bytes, &h);
	memcpy(at->bytes + PAYLOAD_AT, r->source, LINE - PAYLOAD_AT);
}

static void insert(const struct run *r, const void *table, unsigned esize, unsigned n)
{
	for (unsigned done = 0; done < n;) {
		unsigned k = rte_ring_sp_enqueue_burst_elem(
			r->there, (const char *)table + (size_t)done * esize, esize, n - done, NULL);
		if (!k)
			relax();
		done += k;
	}
}

static int writer(void *arg)
{
	const struct run *r = arg;
	const unsigned batch = (unsigned)r->o->batch;
	static struct object values[MOST];
	struct object *pointers[MOST];
	const uint64_t every = check_every(LINE), stop_at = r->flow->stop_at;
	uint64_t sent = 0, due = every;
	uint32_t correlation = 0;
	bool last = false;

	while (!last) {
		if (sent >= due) {
			due = sent + every;
			last = ticks() >= stop_at;
		}
		for (unsigned i = 0; i < batch; i++) {
			/* Twice as many objects as places, less than half of them
			 * beyond the ring: none is written while it is read. */
			struct object *at = r->elem ? &values[i]
						    : &r->objects[(sent + i) & (2 * r->places - 1)];
			fill(at, r, ++correlation, last && i + 1 == batch ? FLAG_END : 0);
			pointers[i] = at;
		}
		if (r->elem)
			insert(r, values, sizeof *values, batch);
		else
			insert(r, pointers, sizeof *pointers, batch);
		sent += batch;
	}
	return 0;
}

static int reader(void *arg)
{
	const struct run *r = arg;
	const unsigned batch = (unsigned)r->o->batch;
	static struct object values[MOST];
	struct object *pointers[MOST];
	struct meter m = {.every = check_every(LINE)};
	uint64_t seen = 0, sum = 0;
	uint32_t correlation = 0;

	for (;;) {
		unsigned n = r->elem ? rte_ring_sc_dequeue_burst_elem(r->there, values, LINE, batch, NULL)
				     : rte_ring_sc_dequeue_burst_elem(r->there, pointers,
								      sizeof *pointers, batch, NULL);
		for (unsigned i = 0; i < n; i++) {
			const struct object *at = r->elem ? &values[i] : pointers[i];
			struct header h;
			memcpy(&h, at->bytes + HEADER_AT, sizeof h);
			if (h.correlation != ++correlation)
				die("record %u came where %u was due", h.correlation, correlation);
			sum += touch(at->bytes + PAYLOAD_AT, h.length);
			if (h.flags & FLAG_END) {
				meter_end(&m, r->flow, seen + i + 1, sum);
				return 0;
			}
		}
		if (!n)
			relax();
		seen += n;
		if (seen >= m.due)
			meter_look(&m, r->flow, seen);
	}
}

static void *take(struct rte_ring *ring)
{
	void *p;
	while (rte_ring_sc_dequeue(ring, &p))
		relax();
	return p;
}

static int caller(void *arg)
{
	struct run *r = arg;
	const uint64_t warmup = r->o->warmup, rounds = warmup + r->o->count;
	uint64_t t = ticks(), begun = t;

	for (uint64_t i = 1; i <= rounds; i++) {
		struct object *at = &r->objects[i & (r->places - 1)];
		fill(at, r, (uint32_t)i, 0);
		rte_ring_sp_enqueue(r->there, at);
		const struct object *reply = take(r->back);
		struct header h;
		memcpy(&h, reply->bytes + HEADER_AT, sizeof h);
		if (h.correlation != (uint32_t)i)
			die("reply %u came where %u was due", h.correlation, (uint32_t)i);
		uint64_t now = ticks();
		if (i > warmup)
			hist_add(r->hist, now - t);
		else
			begun = now;
		t = now;
	}
	r->elapsed = t - begun;
	return 0;
}

static int answerer(void *arg)
{
	struct run *r = arg;
	const uint64_t rounds = r->o->warmup + r->o->count;

	for (uint64_t i = 1; i <= rounds; i++) {
		const struct object *request = take(r->there);
		struct object *reply = &r->objects[r->places + (i & (r->places - 1))];
		memcpy(reply, request, sizeof *reply);
		rte_ring_sp_enqueue(r->back, reply);
	}
	return 0;
}

static struct rte_ring *ring_make(const char *name, bool elem, uint64_t places)
{
	struct rte_ring *ring = rte_ring_create_elem(name, elem ? LINE : sizeof(void *),
						     (unsigned)places, SOCKET_ID_ANY,
						     RING_F_SP_ENQ | RING_F_SC_DEQ);
	if (!ring)
		die("DPDK can't make a ring: %s", rte_strerror(rte_errno));
	return ring;
}

/* EAL makes RUNTIME_DIRECTORY/dpdk/rte and leaves it behind; here that is a
 * directory of our own, removed at exit. (--in-memory, which would make none,
 * is refused together with --no-huge.) */
static char runtime[] = "/tmp/limit-dpdk-XXXXXX";

static void sweep(void)
{
	static const char *const made[] = {"/dpdk/rte", "/dpdk", ""};
	char path[sizeof runtime + 16];
	for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
		snprintf(path, sizeof path, "%s%s", runtime, made[i]);
		rmdir(path);
	}
}

/* start brings EAL up without huge pages, devices, shared files or sockets. */
static void start(const struct options *o)
{
	static char lcores[48];
	if (!mkdtemp(runtime) || atexit(sweep) || setenv("RUNTIME_DIRECTORY", runtime, 1))
		die("can't make a directory like %s", runtime);
	snprintf(lcores, sizeof lcores, "--lcores=0@%d,1@%d", o->cpu_a, o->cpu_b);
	char *argv[] = {"limit-dpdk", lcores, "--no-huge", "--no-pci", "--no-telemetry",
			"--no-shconf", "-m", "64", "--log-level=lib.eal:error", "--log-level=error"};
	if (rte_eal_init(sizeof argv / sizeof *argv, argv) < 0)
		die("DPDK's EAL did not start: %s", rte_strerror(rte_errno));
}

/* both runs a on this lcore and b on the other. */
static void both(struct run *r, int (*a)(void *), int (*b)(void *))
{
	bound(r->o);
	if (rte_eal_remote_launch(b, r, 1))
		die("DPDK can't start its second lcore");
	a(r);
	rte_eal_wait_lcore(1);
	rte_ring_free(r->there);
	rte_ring_free(r->back);
}

int main(int argc, char **argv)
{
	struct options o = {.cpu_b = 1, .count = 2000000, .warmup = 100000, .size = LINE,
			    .batch = 32, .seconds = 2, .timeout = 60, .ring = 16 << 10,
			    .mode = "ptr"};
	const bool rtt = argc > 1 && !strcmp(argv[1], "rtt");
	if (argc < 2 || (!rtt && strcmp(argv[1], "stream")))
		usage("limit-dpdk takes stream [--batch N --seconds T --mode ptr|elem] or "
		      "rtt [--count N --warmup N], each with --ring BYTES --cpus A,B "
		      "--timeout SECONDS");
	parse(&o, argc, argv, 2, rtt ? "count warmup ring" : "batch seconds ring mode");
	struct run r = {.o = &o, .elem = !strcmp(o.mode, "elem"), .source = private(LINE),
			.places = o.ring / LINE};
	if (!r.elem && strcmp(o.mode, "ptr"))
		usage("--mode is ptr or elem, not \"%s\"", o.mode);
	if (r.places & (r.places - 1))
		usage("--ring must be a power of two: as many bytes as its records have");
	if (!rtt && (o.batch > MOST || 2 * o.batch > r.places))
		usage("--batch is at most %d, and half a ring, here", MOST);

	start(&o);
	static struct hist h;
	hist_reset(&h);
	r.hist = &h;
	r.there = ring_make("there", r.elem, r.places);
	r.back = ring_make("back", false, r.places);
	r.objects = shared(2 * r.places * sizeof *r.objects);
	double ticks_per_ns = calibrate();
	r.flow = flow_new(&o, ticks_per_ns);
	if (rtt)
		both(&r, caller, answerer);
	else
		both(&r, writer, reader);

	struct result out = {.link = r.elem ? "dpdk-elem" : "dpdk", .size = LINE, .ring = o.ring,
			     .ticks_per_ns = ticks_per_ns};
	if (rtt) {
		out.kind = "rtt";
		out.count = o.count;
		out.hist = &h;
		out.seconds = (double)r.elapsed / ticks_per_ns / 1e9;
	} else {
		out.kind = "stream";
		out.count = r.flow->count;
		out.batch = o.batch;
		out.seconds = (double)r.flow->elapsed / ticks_per_ns / 1e9;
	}
	print_result(&o, &out);
	fflush(stdout);
	rte_eal_cleanup();
	return 0;
}
