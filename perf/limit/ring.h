/* The equal ring: Cell's single-producer single-consumer byte ring, in C.
 *
 * A record, aligned to a cache line:
 *
 *	 0       4                          24
 *	 ┌───────┬──────────────────────────┬─────────
 *	 │commit │header (20 bytes)         │payload …
 *	 └───────┴──────────────────────────┴─────────
 *
 * commit is span|kind: span, a multiple of 64, is the whole record's length;
 * kind, in the low six bits, is 0 (nothing here yet), 1 (a vesicle) or 2
 * (padding to the end of the ring).
 *
 * Publication. The producer writes the records of a batch, stores 0 into the
 * commit word right behind them, and last, with release, the batch's first
 * commit word. A consumer that reads it with acquire thereby sees the whole
 * batch and the 0 that ends it: one release store for any number of records,
 * and the line that says "there is something" is the line of the record itself.
 * The terminator needs a place, so a ring is full one line early.
 *
 * The consumer releases its cursor, on a line of its own, once per batch; the
 * producer reads it only when its last copy says that the ring is full. */
#ifndef CELL_LIMIT_RING_H
#define CELL_LIMIT_RING_H

#include "rig.h"

#include <string.h>

enum { KIND_MASK = 63, COMMITTED = 1, PADDING = 2 };
enum { HEADER_AT = 4, PAYLOAD_AT = 24 };
enum { VERSION_EVENT = 1 << 4 | 4, FLAG_END = 1 << 1 };

struct header { /* as wire.Header is encoded; this file is for little endian */
	uint32_t length;
	uint64_t fingerprint;
	uint32_t correlation;
	uint8_t version_kind, flags, channel, hops;
} __attribute__((packed));
_Static_assert(sizeof(struct header) == PAYLOAD_AT - HEADER_AT, "the header has 20 bytes");

struct ring {
	unsigned char *data;
	uint64_t size;         /* a power of two */
	_Atomic uint64_t *tail; /* the consumer's cursor */
};

static inline struct ring ring_new(uint64_t size)
{
	unsigned char *p = shared(size + APART);
	return (struct ring){.data = p + APART, .size = size, .tail = (_Atomic uint64_t *)p};
}

static inline _Atomic uint32_t *commit_word(const struct ring *r, uint64_t pos)
{
	return (_Atomic uint32_t *)(r->data + (pos & (r->size - 1)));
}

static inline uint64_t span_of(uint64_t size) { return (size + LINE - 1) & ~(uint64_t)(LINE - 1); }

struct producer {
	struct ring r;
	uint64_t pos, tail_seen;
	/* the batch in the making */
	uint64_t first;
	uint32_t first_word;
};

/* room reports whether bytes fit now, padding not counted. */
static inline bool room(struct producer *p, uint64_t bytes)
{
	if (p->r.size - (p->pos - p->tail_seen) >= bytes + LINE)
		return true;
	p->tail_seen = atomic_load_explicit(p->r.tail, memory_order_acquire);
	return p->r.size - (p->pos - p->tail_seen) >= bytes + LINE;
}

static inline void begin(struct producer *p) { p->first = p->pos; }

/* mark writes a record's commit word, or keeps it for publish if it is the
 * batch's first. */
static inline void mark(struct producer *p, uint32_t word)
{
	if (p->pos == p->first)
		p->first_word = word;
	else
		atomic_store_explicit(commit_word(&p->r, p->pos), word, memory_order_relaxed);
	p->pos += word & ~(uint32_t)KIND_MASK;
}

/* put adds one record of span bytes to the batch; the caller made sure that
 * there is room for it and for padding. */
static inline __attribute__((always_inline)) void put(struct producer *p, uint64_t span,
						      const struct header *h, const void *payload,
						      uint32_t length)
{
	uint64_t left = p->r.size - (p->pos & (p->r.size - 1));
	if (__builtin_expect(left < span, 0))
		mark(p, (uint32_t)left | PADDING);
	unsigned char *at = p->r.data + (p->pos & (p->r.size - 1));
	memcpy(at + HEADER_AT, h, sizeof *h);
	memcpy(at + PAYLOAD_AT, payload, length);
	mark(p, (uint32_t)span | COMMITTED);
}

static inline void publish(struct producer *p)
{
	atomic_store_explicit(commit_word(&p->r, p->pos), 0, memory_order_relaxed);
	atomic_store_explicit(commit_word(&p->r, p->first), p->first_word, memory_order_release);
}

struct consumer {
	struct ring r;
	uint64_t pos;
	uint32_t usual; /* the commit word seen last */
};

/* next returns the record at the cursor and moves behind it, or NULL.
 *
 * Spans make the ring a linked list: the place of a record is known only when
 * the commit word of the one before has come from the other core. So next
 * guesses that a record is as long as the last, and the CPU, which predicts the
 * comparison, has the following lines under way meanwhile. */
static inline const unsigned char *next(struct consumer *c)
{
	for (;;) {
		uint32_t word = atomic_load_explicit(commit_word(&c->r, c->pos), memory_order_acquire);
		if (!(word & KIND_MASK))
			return NULL;
		const unsigned char *at = c->r.data + (c->pos & (c->r.size - 1));
		uint32_t span = c->usual;
		if (__builtin_expect(word == span, 1))
			__asm__("" : "+r"(span)); /* else the compiler would use word */
		else
			c->usual = span = word;
		c->pos += span & ~(uint32_t)KIND_MASK;
		if (__builtin_expect((word & KIND_MASK) == COMMITTED, 1))
			return at;
	}
}

static inline void release(struct consumer *c)
{
	atomic_store_explicit(c->r.tail, c->pos, memory_order_release);
}

/* touch reads one word of every cache line of a payload, the first at its
 * start, and returns the sum: the least by which a reader has got the bytes. */
static inline __attribute__((always_inline)) uint64_t touch(const unsigned char *p, uint64_t length)
{
	uint64_t sum = 0, word;
	for (uint64_t i = 0; i + sizeof word <= length; i += LINE) {
		memcpy(&word, p + i, sizeof word);
		sum += word;
	}
	return sum;
}

#endif
