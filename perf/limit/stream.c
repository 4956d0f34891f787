/* One-way records over the equal ring: what a compiler makes of Cell's record
 * format and publication protocol when nothing is in its way. */
#include "flow.h"
#include "measure.h"
#include "ring.h"

struct run {
	const struct options *o;
	struct ring ring;
	struct flow *flow;
	unsigned char *source;
};

/* write_all is inlined with a constant span where that is 64, so that the copy
 * of a 40-byte payload is three moves and not a call: the best C there is. */
static inline __attribute__((always_inline)) void write_all(const struct run *r, uint64_t span,
							    uint32_t length)
{
	struct producer p = producer_of(r->ring);
	struct header h = {.length = length, .fingerprint = 0x0102030405060708,
			   .version_kind = VERSION_EVENT, .hops = 8};
	const uint64_t batch = r->o->batch, every = check_every(span), stop_at = r->flow->stop_at;
	uint64_t due = every, sent = 0;
	uint32_t correlation = 0;
	bool last = false;

	while (!last) {
		/* One more than the batch: padding may be needed. */
		while (!room(&p, (batch + 1) * span))
			relax();
		if (sent >= due) {
			due = sent + every;
			last = ticks() >= stop_at;
		}
		for (uint64_t i = 0; i < batch; i++) {
			h.correlation = ++correlation;
			/* The stream's end is a flag on the last record of the last batch. */
			h.flags = last && i + 1 == batch ? FLAG_END : 0;
			put(&p, span, &h, r->source, length);
		}
		publish(&p);
		sent += batch;
	}
}

static void writer(void *arg)
{
	const struct run *r = arg;
	const uint64_t size = r->o->size;
	if (size == LINE)
		write_all(r, LINE, LINE - PAYLOAD_AT);
	else
		write_all(r, span_of(size), (uint32_t)(size - PAYLOAD_AT));
}

/* wait_a_little is what a reader does that has come to the end of what is
 * published. Looking again at once it would take the line away that the writer
 * is filling; later, it finds more at a time, and gets more in all. */
static inline void wait_a_little(void)
{
	for (int i = 0; i < 32; i++)
		relax();
}

static inline __attribute__((always_inline)) void read_all(const struct run *r, uint32_t length)
{
	struct consumer c = {.r = r->ring};
	struct meter m = {.every = check_every(r->o->size)};
	/* A reader that keeps pace never meets the end of what is published, so
	 * its walk is bounded: room is given back at least this often. */
	const uint64_t most = r->o->batch < 64 ? 64 : r->o->batch;
	uint64_t seen = 0, sum = 0;
	uint32_t correlation = 0;

	for (;;) {
		const unsigned char *at;
		uint64_t n = 0;
		for (; n < most && (at = next(&c)); n++) {
			struct header h;
			memcpy(&h, at + HEADER_AT, sizeof h);
			if (__builtin_expect(h.correlation != ++correlation || h.length != length, 0))
				die("record %u came where %u was due", h.correlation, correlation);
			sum += touch(at + PAYLOAD_AT, length);
			if (__builtin_expect(h.flags & FLAG_END, 0)) {
				meter_end(&m, r->flow, seen + n + 1, sum);
				return;
			}
		}
		if (!n) {
			wait_a_little();
			continue;
		}
		release(&c);
		seen += n;
		if (n < most)
			wait_a_little();
		if (seen >= m.due)
			meter_look(&m, r->flow, seen);
	}
}

static void reader(void *arg)
{
	const struct run *r = arg;
	if (r->o->size == LINE)
		read_all(r, LINE - PAYLOAD_AT);
	else
		read_all(r, (uint32_t)(r->o->size - PAYLOAD_AT));
}

void stream(struct options *o)
{
	if (!o->ring)
		o->ring = ring_for(o->size, o->batch);
	if (o->ring & (o->ring - 1) || o->ring < (o->batch + 1) * span_of(o->size) + LINE)
		usage("--ring must be a power of two that holds a batch (%llu records of %llu bytes) and "
		      "one record more",
		      (unsigned long long)o->batch, (unsigned long long)o->size);
	double ticks_per_ns = calibrate();
	struct run r = {.o = o, .ring = ring_new(o->ring), .source = private(o->size)};

	r.flow = flow_new(o, ticks_per_ns);
	pair(o, writer, reader, &r);
	print_result(o, &(struct result){
		.kind = "stream", .link = "c-ring", .size = o->size, .count = r.flow->count,
		.batch = o->batch, .ring = o->ring,
		.seconds = (double)r.flow->elapsed / ticks_per_ns / 1e9});
}
