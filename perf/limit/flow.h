/* How long a one-way run lasts and what counts of it. The writer decides the
 * end; the reader, who alone knows what arrived, counts and times, leaving out
 * the first tenth. Clocks are read once in many records, for at 5 ns a record a
 * reading for each would be the measurement. */
#ifndef CELL_LIMIT_FLOW_H
#define CELL_LIMIT_FLOW_H

#include "rig.h"

enum { CHECK = 4096 }; /* records between two looks at the clock, if small */

static inline uint64_t check_every(uint64_t size)
{
	uint64_t n = ((uint64_t)CHECK * LINE) / size;
	return n ? n : 1;
}

struct flow { /* in shared memory */
	uint64_t warm_until, stop_at; /* in ticks; set before the fork */
	/* written by the reader, read when it has ended */
	uint64_t count, elapsed, sum;
};

static inline struct flow *flow_new(const struct options *o, double ticks_per_ns)
{
	struct flow *f = shared(sizeof *f);
	uint64_t now = ticks(), whole = (uint64_t)(o->seconds * 1e9 * ticks_per_ns);
	f->warm_until = now + whole / 10;
	f->stop_at = now + whole;
	return f;
}

struct meter { /* the reader's own */
	uint64_t due, every, counted_from, since;
	bool warm;
};

/* meter_look is to be called about every m->every records, with all seen. */
static inline void meter_look(struct meter *m, const struct flow *f, uint64_t seen)
{
	m->due = seen + m->every;
	if (m->warm)
		return;
	uint64_t now = ticks();
	m->warm = now >= f->warm_until;
	/* The first look counts in any case: on a busy host a short run may be
	 * over before there is another. */
	if (m->warm || !m->since) {
		m->since = now;
		m->counted_from = seen;
	}
}

static inline void meter_end(const struct meter *m, struct flow *f, uint64_t seen, uint64_t sum)
{
	if (!m->since || seen == m->counted_from)
		die("nothing was counted: the run was too short; raise --seconds");
	f->count = seen - m->counted_from;
	f->elapsed = ticks() - m->since;
	f->sum = sum;
}

#endif
