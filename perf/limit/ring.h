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
 * Publication. The producer writes the records of a batch and last, with
 * release, the batch's first commit word, where until then a 0 stood: the end
 * mark. A consumer that reads it with acquire thereby sees the whole batch and
 * the end mark behind it: one release store for any number of records, and the
 * line that says "there is something" is the line of the record itself. The end
 * mark needs a place, so a ring is full one line early.
 *
 * End marks are written ahead of need, after a publication, when nobody waits
 * for them: written just before it, an end mark would have to own its cache
 * line first, and on x86 the publication would queue behind it.
 *
 * The consumer releases its cursor, on a line of its own, once per batch; the
 * producer reads it only when its last copy says that the ring is full.
 *
 * This is the algorithm of ring/producer.go and ring/consumer.go, constants
 * included. What those do beyond it (checks against a hostile peer, waking
 * whoever sleeps, statistics) is what a comparison with this is to show. */
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
} __attribute__((packed, may_alias));
_Static_assert(sizeof(struct header) == PAYLOAD_AT - HEADER_AT, "the header has 20 bytes");

/* header_store writes a record's header, field by field: a copy in one piece
 * would load 16 bytes that were just stored in smaller parts, for which the CPU
 * can't forward the stores but waits until they have left its store buffer. */
static inline __attribute__((always_inline)) void header_store(unsigned char *record,
							       const struct header *h)
{
	struct header *to = (struct header *)(record + HEADER_AT);
	to->length = h->length;
	to->fingerprint = h->fingerprint;
	to->correlation = h->correlation;
	to->version_kind = h->version_kind;
	to->flags = h->flags;
	to->channel = h->channel;
	to->hops = h->hops;
}

static inline uint64_t span_of(uint64_t size) { return (size + LINE - 1) & ~(uint64_t)(LINE - 1); }

/* ring_for chooses a ring's size where --ring does not: for small records one
 * that stays in the first-level caches; for large ones, several times the
 * second-level cache (1 MiB a core, mostly) and a fraction of the third, so that a
 * reader finds its lines in the cache that both cores share and does not fetch
 * them out of the writer's own, which takes four times as long. At any rate it
 * holds four batches, so that both sides can work at once. */
static inline uint64_t ring_for(uint64_t size, uint64_t batch)
{
	uint64_t ring = size <= 256 ? 16 << 10 : 4 << 20, need = 4 * (batch + 1) * span_of(size);
	while (ring < need && ring < 1u << 30)
		ring *= 2;
	return ring;
}

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

/* End marks are written two lines ahead, and the lines of the next batch are
 * asked for: a store that waits for its line holds up every store behind it.
 * Single records keep some lines in reserve. */
enum { MARK_LINES = 2 * LINE, OWN_LEAST = 8 * LINE, OWN_MOST = 64 * LINE };

/* Positions count bytes and never wrap; a position's low bits are its offset. */
struct producer {
	struct ring r;
	uint64_t first;  /* where the batch in the making begins */
	uint64_t pos;    /* where its next record goes */
	uint64_t owned;  /* lines up to here have been asked for */
	uint64_t marked; /* from pos to here, each line begins with an end mark */
	uint64_t limit;  /* records may go up to here; one free line follows */
	uint32_t first_word;
};

static inline struct producer producer_of(struct ring r)
{
	return (struct producer){.r = r, .limit = r.size - LINE};
}

/* room reports whether bytes fit now, padding not counted. */
static inline bool room(struct producer *p, uint64_t bytes)
{
	if (__builtin_expect(p->pos + bytes <= p->limit, 1))
		return true;
	p->limit = atomic_load_explicit(p->r.tail, memory_order_acquire) + p->r.size - LINE;
	return p->pos + bytes <= p->limit;
}

static inline void set_word(const struct producer *p, uint64_t pos, uint32_t word)
{
	atomic_store_explicit(commit_word(&p->r, pos), word, memory_order_relaxed);
}

/* seal writes a record's commit word, or keeps it for publish if it is the
 * batch's first. */
static inline void seal(struct producer *p, uint32_t word)
{
	if (p->pos == p->first)
		p->first_word = word;
	else
		set_word(p, p->pos, word);
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
		seal(p, (uint32_t)left | PADDING);
	unsigned char *at = p->r.data + (p->pos & (p->r.size - 1));
	header_store(at, h);
	memcpy(at + PAYLOAD_AT, payload, length);
	seal(p, (uint32_t)span | COMMITTED);
}

/* mark_ahead writes end marks for the next publications, as far as memory is
 * known to be free. */
static inline void mark_ahead(struct producer *p)
{
	uint64_t to = p->pos + MARK_LINES < p->limit ? p->pos + MARK_LINES : p->limit;
	uint64_t at = p->marked > p->pos ? p->marked : p->pos;
	for (; at < to; at += LINE)
		set_word(p, at, 0);
	p->marked = at;
}

/* prefetch_write is spelled out on x86-64, where gcc emits a prefetch for
 * reading unless it is told of a CPU that has PREFETCHW, as all of them have. */
static inline void prefetch_write(const volatile void *p)
{
#ifdef __x86_64__
	__asm__ volatile("prefetchw %0" : : "m"(*(const char *)p));
#else
	__builtin_prefetch((const void *)p, 1);
#endif
}

/* own asks for the lines of the next batch, which is as long as the last. */
static inline void own(struct producer *p, uint64_t batch)
{
	if (p->owned >= p->pos + OWN_LEAST && batch <= OWN_LEAST)
		return;
	uint64_t at = p->owned > p->pos ? p->owned : p->pos;
	uint64_t to = p->pos + (batch + LINE > 2 * OWN_LEAST ? batch + LINE : 2 * OWN_LEAST);
	if (to > p->pos + OWN_MOST)
		to = p->pos + OWN_MOST;
	if (to > p->limit)
		to = p->limit;
	if (at >= to)
		return;
	p->owned = to;
	for (; at < to; at += LINE)
		prefetch_write(commit_word(&p->r, at));
}

/* publish makes the batch visible, which must not be empty. */
static inline void publish(struct producer *p)
{
	if (__builtin_expect(p->marked <= p->pos, 0)) {
		set_word(p, p->pos, 0);
		p->marked = p->pos + LINE;
	}
	atomic_store_explicit(commit_word(&p->r, p->first), p->first_word, memory_order_release);
	uint64_t batch = p->pos - p->first;
	p->first = p->pos;
	mark_ahead(p);
	own(p, batch);
}

struct consumer {
	struct ring r;
	uint64_t pos;
	uint32_t guess; /* the last commit word, */
	uint64_t step;  /* and its span */
};

/* next returns the record at the cursor and moves behind it, or NULL.
 *
 * Spans make the ring a linked list: the place of a record is known only when
 * the commit word of the one before has come from the other core. So next
 * guesses that a record is as long as the last, and the CPU, which predicts the
 * comparison, has the following lines under way meanwhile. */
static inline __attribute__((always_inline)) const unsigned char *next(struct consumer *c)
{
	for (;;) {
		const unsigned char *at = c->r.data + (c->pos & (c->r.size - 1));
		uint32_t word = atomic_load_explicit(commit_word(&c->r, c->pos), memory_order_acquire);
		if (__builtin_expect(word != c->guess, 0)) {
			if (!(word & KIND_MASK))
				return NULL;
			c->guess = word;
			c->step = word & ~(uint32_t)KIND_MASK;
		}
		/* Without this the compiler, which knows that they are equal, would
		 * compute the step from the word. */
		__asm__("" : "+r"(c->step));
		c->pos += c->step;
		if (__builtin_expect((c->guess & KIND_MASK) == COMMITTED, 1))
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
