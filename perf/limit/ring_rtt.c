/* A round trip over two equal rings: one record there, one back, the payload
 * copied by each writer and touched by each reader. */
#include "measure.h"
#include "ring.h"

struct run {
	const struct options *o;
	struct ring there, back;
	unsigned char *source;
	struct hist *hist;
	uint64_t elapsed;
};

static const unsigned char *wait_next(struct consumer *c)
{
	const unsigned char *at;
	while (!(at = next(c)))
		relax();
	return at;
}

static void send(struct producer *p, const struct header *h, const void *payload, uint64_t span)
{
	while (!room(p, 2 * span)) /* twice: padding may be needed */
		relax();
	put(p, span, h, payload, h->length);
	publish(p);
}

static uint64_t sink; /* keeps the compiler from dropping reads */

static void caller(void *arg)
{
	struct run *r = arg;
	struct producer p = producer_of(r->there);
	struct consumer c = {.r = r->back};
	const uint64_t warmup = r->o->warmup, rounds = warmup + r->o->count;
	const uint64_t span = span_of(r->o->size);
	struct header h = {.length = (uint32_t)(r->o->size - PAYLOAD_AT),
			   .fingerprint = 0x0102030405060708, .version_kind = 1 << 4 | 1, .hops = 8};
	uint64_t t = ticks(), begun = t;

	for (uint64_t i = 1; i <= rounds; i++) {
		h.correlation = (uint32_t)i;
		send(&p, &h, r->source, span);
		const unsigned char *at = wait_next(&c);
		struct header reply;
		memcpy(&reply, at + HEADER_AT, sizeof reply);
		if (reply.correlation != h.correlation)
			die("reply %u came where %u was due", reply.correlation, h.correlation);
		sink += touch(at + PAYLOAD_AT, reply.length);
		release(&c);
		uint64_t now = ticks();
		if (i > warmup)
			hist_add(r->hist, now - t);
		else
			begun = now;
		t = now;
	}
	r->elapsed = t - begun;
}

static void answerer(void *arg)
{
	struct run *r = arg;
	struct producer p = producer_of(r->back);
	struct consumer c = {.r = r->there};
	const uint64_t rounds = r->o->warmup + r->o->count, span = span_of(r->o->size);

	for (uint64_t i = 1; i <= rounds; i++) {
		const unsigned char *at = wait_next(&c);
		struct header h;
		memcpy(&h, at + HEADER_AT, sizeof h);
		sink += touch(at + PAYLOAD_AT, h.length);
		h.version_kind = 1 << 4 | 2; /* a reply */
		send(&p, &h, at + PAYLOAD_AT, span);
		release(&c);
	}
}

void ring_rtt(struct options *o)
{
	static struct hist h;
	if (!o->ring)
		for (o->ring = 64 << 10; o->ring < 4 * span_of(o->size);)
			o->ring *= 2;
	if (o->ring & (o->ring - 1) || o->ring < 4 * span_of(o->size))
		usage("--ring must be a power of two that holds 4 records");
	struct run r = {.o = o, .there = ring_new(o->ring), .back = ring_new(o->ring),
			.source = private(o->size), .hist = &h};
	double ticks_per_ns = calibrate();

	hist_reset(&h);
	pair(o, caller, answerer, &r);
	print_result(o, &(struct result){
		.kind = "rtt", .link = "c-ring", .size = o->size, .count = o->count, .ring = o->ring,
		.hist = &h, .ticks_per_ns = ticks_per_ns,
		.seconds = (double)r.elapsed / ticks_per_ns / 1e9});
}
