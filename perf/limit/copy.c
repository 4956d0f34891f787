/* The bare limit of bytes: memcpy into slots of shared memory on one core,
 * and on the other either one word of every cache line is read, as a handler
 * that looks at a view in place does, or (--copyout) all is copied out. Slots
 * are published and given back by the batch. */
#include "flow.h"
#include "measure.h"
#include "ring.h"

struct cursors {
	_Alignas(APART) _Atomic uint64_t head; /* slots filled */
	_Alignas(APART) _Atomic uint64_t tail; /* slots emptied */
	_Alignas(APART) _Atomic uint64_t end;  /* head is final when this is 1 */
};

struct run {
	const struct options *o;
	struct cursors *cursors;
	struct flow *flow;
	unsigned char *slots, *source, *target;
	uint64_t mask; /* slots are a power of two */
};

static void writer(void *arg)
{
	const struct run *r = arg;
	struct cursors *c = r->cursors;
	const uint64_t size = r->o->size, slots = r->mask + 1, batch = r->o->batch,
		       every = check_every(size);
	uint64_t head = 0, tail = 0, due = every;

	for (;;) {
		if (head >= due) {
			due = head + every;
			if (ticks() >= r->flow->stop_at)
				break;
		}
		while (head - tail + batch > slots) {
			tail = atomic_load_explicit(&c->tail, memory_order_acquire);
			if (head - tail + batch > slots)
				relax();
		}
		for (uint64_t i = 0; i < batch; i++, head++)
			memcpy(r->slots + (head & r->mask) * size, r->source, size);
		atomic_store_explicit(&c->head, head, memory_order_release);
	}
	atomic_store_explicit(&c->end, 1, memory_order_release);
}

static void reader(void *arg)
{
	const struct run *r = arg;
	struct cursors *c = r->cursors;
	struct meter m = {.every = check_every(r->o->size)};
	const uint64_t size = r->o->size;
	uint64_t head = 0, tail = 0, sum = 0;

	for (;;) {
		if (tail == head) {
			/* end before head: a head read after end was set is final. */
			bool end = atomic_load_explicit(&c->end, memory_order_acquire);
			head = atomic_load_explicit(&c->head, memory_order_acquire);
			if (tail == head && end)
				break;
			if (tail == head) {
				relax();
				continue;
			}
		}
		for (uint64_t i = 0; i < r->o->batch; i++, tail++) {
			const unsigned char *slot = r->slots + (tail & r->mask) * size;
			if (r->o->copyout) {
				memcpy(r->target, slot, size);
				__asm__ volatile("" ::"r"(r->target) : "memory"); /* it is wanted */
			} else {
				sum += touch(slot, size);
			}
		}
		atomic_store_explicit(&c->tail, tail, memory_order_release);
		if (tail >= m.due)
			meter_look(&m, r->flow, tail);
	}
	meter_end(&m, r->flow, tail, sum);
}

void copy(struct options *o)
{
	o->size = span_of(o->size);
	if (!o->ring)
		o->ring = ring_for(o->size, o->batch);
	uint64_t slots = 4;
	while (slots < 2 * o->batch) /* so that the two sides can work at once */
		slots *= 2;
	while (slots * 2 * o->size <= o->ring)
		slots *= 2;
	double ticks_per_ns = calibrate();
	struct run r = {.o = o, .cursors = shared(sizeof(struct cursors)), .mask = slots - 1,
			.slots = shared(slots * o->size), .source = private(o->size),
			.target = private(o->size)};

	r.flow = flow_new(o, ticks_per_ns);
	pair(o, writer, reader, &r);
	print_result(o, &(struct result){
		.kind = "copy", .link = "memory", .size = o->size, .count = r.flow->count,
		.batch = o->batch, .ring = slots * o->size, .copyout = o->copyout,
		.seconds = (double)r.flow->elapsed / ticks_per_ns / 1e9});
}
