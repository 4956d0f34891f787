/* The rig: what every measurement here needs. Two processes, pinned, over
 * anonymous shared memory; a clock; a histogram; one line of JSON.
 *
 * Nothing outlives a run: memory is MAP_SHARED|MAP_ANONYMOUS (no name to leave
 * behind), the child dies with its parent (PR_SET_PDEATHSIG), and an alarm
 * ends both should they hang. */
#ifndef CELL_LIMIT_RIG_H
#define CELL_LIMIT_RIG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#define LINE 64  /* bytes of a cache line: x86-64, and arm64 but for Apple's */
#define APART 128 /* two lines: x86 prefetches lines in adjacent pairs */

/* die prints one sentence on stderr and ends the process with status 1; usage
 * ends it with status 2: the caller's flags were at fault. */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- flags ---- */

/* options are the flags of all measurements; each one names those it takes. */
struct options {
	int cpu_a, cpu_b;  /* --cpus A,B: this process, the other */
	uint64_t count;    /* --count: round trips */
	uint64_t warmup;   /* --warmup: round trips before counting */
	uint64_t size;     /* --size: bytes of a record or slot */
	uint64_t batch;    /* --batch: records published at once */
	uint64_t ring;     /* --ring: bytes of one ring; 0: chosen to fit */
	double seconds;    /* --seconds: length of a throughput run */
	uint64_t timeout;  /* --timeout: seconds until a hung run is ended */
	bool copyout;      /* --copyout: the reader copies, too */
	const char *mode;  /* --mode: DPDK only */
};

/* parse reads argv[first..] into o. allowed is a space-separated list of the
 * flags that this measurement knows, without dashes. --cpus and --timeout are
 * always known. It ends the process with a sentence on anything else. */
void parse(struct options *o, int argc, char **argv, int first, const char *allowed);

/* ---- the clock ---- */

/* ticks reads the cheapest monotonic counter that the CPU offers to user
 * space. It does not serialise: a spin loop's exit is dependency enough at the
 * nanoseconds that are told apart here. */
static inline uint64_t ticks(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
	uint64_t t;
	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(t));
	return t;
#else
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
#endif
}

/* calibrate measures and returns ticks per nanosecond, against
 * CLOCK_MONOTONIC_RAW. It takes 20 ms. */
double calibrate(void);

/* relax tells the CPU that this is a spin loop. */
static inline void relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield" ::: "memory");
#endif
}

/* ---- two processes ---- */

/* shared returns zeroed, touched memory that a later fork shares. */
void *shared(size_t bytes);

/* private returns touched memory that a fork copies, filled with a pattern. */
void *private(size_t bytes);

/* pin keeps the calling thread on one CPU. */
void pin(int cpu);

/* bound ends the process with a sentence after --timeout seconds. */
void bound(const struct options *o);

/* pair runs a in this process on --cpus' A and b in a child on B, both with
 * arg, and returns when both have ended well. Where either can't, it ends the
 * process with a sentence. b is running when a is called. */
void pair(const struct options *o, void (*a)(void *), void (*b)(void *), void *arg);

/* ---- results ---- */

/* A log-linear histogram of ticks: values below 2^SUB are exact, others are
 * kept to 1 part in 2^(SUB-1), that is 3 significant digits. */
#define HIST_SUB 11
#define HIST_BUCKETS ((64 - HIST_SUB + 1) << (HIST_SUB - 1))
struct hist {
	uint64_t total, min, max, sum;
	uint64_t bucket[HIST_BUCKETS + (1 << (HIST_SUB - 1))];
};

static inline void hist_add(struct hist *h, uint64_t v)
{
	unsigned shift = v >> HIST_SUB ? 64 - HIST_SUB - (unsigned)__builtin_clzll(v) : 0;
	h->bucket[((uint64_t)shift << (HIST_SUB - 1)) + (v >> shift)]++;
	h->total++;
	h->sum += v;
	if (v < h->min)
		h->min = v;
	if (v > h->max)
		h->max = v;
}

void hist_reset(struct hist *h);

/* hist_at returns the value, in ticks, that the share q of all samples does
 * not exceed: the upper end of its bucket, and never more than the maximum. */
uint64_t hist_at(const struct hist *h, double q);

/* result is the one line that a run prints. Its field names are those of
 * cellbench's JSON, so that one reader serves both. */
struct result {
	const char *kind, *link;
	uint64_t size, count, batch, ring;
	const struct hist *hist; /* round trips, or NULL */
	double ticks_per_ns;     /* for hist */
	double seconds;          /* how long count took */
	bool copyout;
};

void print_result(const struct options *o, const struct result *r);

#endif
