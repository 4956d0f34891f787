/* The bare limit of a round trip: one cache line travels each way, and nothing
 * else happens. What a ring takes beyond this is the ring's own. */
#include "measure.h"

struct lines {
	_Alignas(APART) _Atomic uint64_t ping;
	_Alignas(APART) _Atomic uint64_t pong;
};

struct run {
	const struct options *o;
	struct lines *lines;
	struct hist *hist;
	uint64_t elapsed;
};

static void caller(void *arg)
{
	struct run *r = arg;
	struct lines *l = r->lines;
	const uint64_t warmup = r->o->warmup, rounds = warmup + r->o->count;
	uint64_t t = ticks(), begun = t;

	for (uint64_t i = 1; i <= rounds; i++) {
		atomic_store_explicit(&l->ping, i, memory_order_release);
		while (atomic_load_explicit(&l->pong, memory_order_acquire) != i)
			relax();
		/* One reading a round: this round's end is the next one's start. */
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
	struct lines *l = r->lines;
	const uint64_t rounds = r->o->warmup + r->o->count;

	for (uint64_t i = 1; i <= rounds; i++) {
		while (atomic_load_explicit(&l->ping, memory_order_acquire) != i)
			relax();
		atomic_store_explicit(&l->pong, i, memory_order_release);
	}
}

void pingpong(struct options *o)
{
	static struct hist h;
	struct run r = {.o = o, .lines = shared(sizeof(struct lines)), .hist = &h};
	double ticks_per_ns = calibrate();

	hist_reset(&h);
	pair(o, caller, answerer, &r);
	print_result(o, &(struct result){
		.kind = "pingpong", .link = "line", .size = LINE, .count = o->count, .hist = &h,
		.ticks_per_ns = ticks_per_ns, .seconds = (double)r.elapsed / ticks_per_ns / 1e9});
}
