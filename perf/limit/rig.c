#define _GNU_SOURCE
#include "rig.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static _Noreturn void say(int status, const char *format, va_list args)
{
	fputs("limit: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	exit(status);
}

void die(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	say(1, format, args);
}

void usage(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	say(2, format, args);
}

/* ---- flags ---- */

/* number reads a whole number in [lo, hi], with K, M or G for powers of 1024. */
static uint64_t number(const char *name, const char *s, uint64_t lo, uint64_t hi)
{
	char *end;
	errno = 0;
	uint64_t v = strtoull(s, &end, 10), unit = 1;
	if (*end == 'K' || *end == 'k')
		unit = 1u << 10, end++;
	else if (*end == 'M' || *end == 'm')
		unit = 1u << 20, end++;
	else if (*end == 'G' || *end == 'g')
		unit = 1u << 30, end++;
	if (errno || *s < '0' || *s > '9' || *end || v > UINT64_MAX / unit || v * unit < lo ||
	    v * unit > hi)
		usage("--%s takes a whole number from %" PRIu64 " to %" PRIu64 ", not \"%s\"", name,
		      lo, hi, s);
	return v * unit;
}

static double duration(const char *name, const char *s)
{
	char *end;
	double v = strtod(s, &end);
	if (end == s || *end || !(v >= 0.01 && v <= 600))
		usage("--%s takes seconds from 0.01 to 600, not \"%s\"", name, s);
	return v;
}

static int cpu_number(const char *s, char **end)
{
	long v = *s >= '0' && *s <= '9' ? strtol(s, end, 10) : -1;
	if (v < 0 || v >= CPU_SETSIZE)
		usage("--cpus takes two CPU numbers such as 0,1, not \"%s\"", s);
	return (int)v;
}

static void cpus(struct options *o, const char *s)
{
	char *end = NULL;
	o->cpu_a = cpu_number(s, &end);
	if (*end != ',')
		usage("--cpus takes two CPU numbers such as 0,1, not \"%s\"", s);
	o->cpu_b = cpu_number(end + 1, &end);
	if (*end)
		usage("--cpus takes two CPU numbers such as 0,1, not \"%s\"", s);
	if (o->cpu_a == o->cpu_b)
		usage("--cpus needs two different CPUs: on one, two spinning processes only wait for "
		      "the scheduler");
}

/* listed reports whether name is a word of list. */
static bool listed(const char *list, const char *name)
{
	size_t n = strlen(name);
	for (const char *p = list; (p = strstr(p, name)); p += n)
		if ((p == list || p[-1] == ' ') && (p[n] == ' ' || !p[n]))
			return true;
	return false;
}

/* set stores one flag's value; false: no such flag. */
static bool set(struct options *o, const char *name, const char *value)
{
	const uint64_t gib = 1u << 30;
	if (!strcmp(name, "cpus"))
		cpus(o, value);
	else if (!strcmp(name, "count"))
		o->count = number(name, value, 1, gib);
	else if (!strcmp(name, "warmup"))
		o->warmup = number(name, value, 0, gib);
	else if (!strcmp(name, "size"))
		o->size = number(name, value, LINE, gib / 4);
	else if (!strcmp(name, "batch"))
		o->batch = number(name, value, 1, 4096);
	else if (!strcmp(name, "ring"))
		o->ring = number(name, value, 4096, gib);
	else if (!strcmp(name, "seconds"))
		o->seconds = duration(name, value);
	else if (!strcmp(name, "timeout"))
		o->timeout = number(name, value, 1, 3600);
	else if (!strcmp(name, "mode"))
		o->mode = value;
	else
		return false;
	return true;
}

void parse(struct options *o, int argc, char **argv, int first, const char *allowed)
{
	for (int i = first; i < argc; i++) {
		char name[16] = "";
		const char *word = argv[i], *value = strchr(word, '=');
		size_t n = value ? (size_t)(value - word) : strlen(word);
		if (strncmp(word, "--", 2) || n - 2 >= sizeof name)
			usage("\"%s\" is not a flag; this measurement takes --cpus --timeout and: %s",
			      word, allowed);
		memcpy(name, word + 2, n - 2);
		if (strcmp(name, "cpus") && strcmp(name, "timeout") && !listed(allowed, name))
			usage("unknown flag --%s; this measurement takes --cpus --timeout and: %s", name,
			      allowed);
		if (!strcmp(name, "copyout") && !value) {
			o->copyout = true;
			continue;
		}
		if (!value && ++i == argc)
			usage("--%s needs a value", name);
		if (!set(o, name, value ? value + 1 : argv[i]))
			usage("--%s takes no value", name);
	}
	if (o->seconds >= (double)o->timeout)
		usage("--seconds %g does not fit within --timeout %" PRIu64, o->seconds, o->timeout);
}

/* ---- the clock ---- */

static double raw_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

double calibrate(void)
{
	uint64_t t0 = ticks();
	double n0 = raw_ns(), n1;
	do
		n1 = raw_ns();
	while (n1 - n0 < 20e6);
	return (double)(ticks() - t0) / (n1 - n0);
}

/* ---- two processes ---- */

static void *mapped(size_t bytes, int flags)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS | MAP_POPULATE, -1,
		       0);
	if (p == MAP_FAILED)
		die("can't map %zu bytes: %s", bytes, strerror(errno));
	return p;
}

void *shared(size_t bytes) { return mapped(bytes, MAP_SHARED); }

void *private(size_t bytes)
{
	unsigned char *p = mapped(bytes, MAP_PRIVATE);
	for (size_t i = 0; i < bytes; i++)
		p[i] = (unsigned char)(i * 131 + 7);
	return p;
}

void pin(int cpu)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof set, &set))
		die("can't run on CPU %d: %s (is it online, and in this cgroup's cpuset?)", cpu,
		    strerror(errno));
}

/* What the signal handlers need to know. */
static volatile sig_atomic_t child_ended;
static pid_t child;

static void complain(const char *sentence)
{
	/* write, not printf: only it is safe in a signal handler. */
	ssize_t ignored = write(STDERR_FILENO, sentence, strlen(sentence));
	(void)ignored;
	_exit(1);
}

static void on_alarm(int sig)
{
	(void)sig;
	complain("limit: the run did not end within --timeout and was stopped\n");
}

void bound(const struct options *o)
{
	signal(SIGALRM, on_alarm);
	alarm((unsigned)o->timeout);
}

static void on_child(int sig)
{
	(void)sig;
	int status;
	if (child <= 0 || waitpid(child, &status, WNOHANG) != child)
		return;
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		complain("limit: the other process died\n");
	child_ended = 1;
}

static void in_child(const struct options *o, pid_t parent, atomic_int *ready,
		     void (*run)(void *), void *arg)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1); /* it died before prctl could watch it */
	pin(o->cpu_b);
	atomic_store(ready, 1);
	run(arg);
	exit(0);
}

void pair(const struct options *o, void (*a)(void *), void (*b)(void *), void *arg)
{
	atomic_int *ready = shared(LINE);
	pid_t parent = getpid();
	sigset_t chld, before;

	/* Blocked until child is set, so that on_child can't miss it. */
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, &before);
	signal(SIGCHLD, on_child);
	fflush(NULL);
	child = fork();
	if (child < 0)
		die("can't fork: %s", strerror(errno));
	if (!child) {
		sigprocmask(SIG_SETMASK, &before, NULL);
		in_child(o, parent, ready, b, arg);
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	bound(o);
	pin(o->cpu_a);
	while (!atomic_load(ready))
		relax();
	a(arg);
	/* SIGCHLD stays blocked but during sigsuspend, so none is lost between
	 * the test and the wait. */
	sigprocmask(SIG_BLOCK, &chld, NULL);
	while (!child_ended)
		sigsuspend(&before);
	alarm(0);
	munmap(ready, LINE);
}

/* ---- results ---- */

void hist_reset(struct hist *h)
{
	memset(h, 0, sizeof *h);
	h->min = UINT64_MAX;
}

uint64_t hist_at(const struct hist *h, double q)
{
	uint64_t want = (uint64_t)ceil(q * (double)h->total), seen = 0;
	const size_t n = sizeof h->bucket / sizeof *h->bucket;
	for (size_t i = 0; i < n; i++) {
		seen += h->bucket[i];
		if (seen < want || !seen)
			continue;
		/* Undo hist_add's index: the first 2^SUB are exact. */
		unsigned shift = i >> HIST_SUB ? (unsigned)(i >> (HIST_SUB - 1)) - 1 : 0;
		uint64_t v = (((i - ((uint64_t)shift << (HIST_SUB - 1))) + 1) << shift) - 1;
		return v < h->max ? v : h->max;
	}
	return h->max;
}

void print_result(const struct options *o, const struct result *r)
{
	printf("{\"kind\":\"%s\",\"link\":\"%s\",\"size\":%" PRIu64 ",\"count\":%" PRIu64
	       ",\"wait\":\"spin\",\"rate\":\"max\",\"cpus\":[%d,%d],\"seconds\":%.6f",
	       r->kind, r->link, r->size, r->count, o->cpu_a, o->cpu_b, r->seconds);
	if (r->batch)
		printf(",\"batch\":%" PRIu64, r->batch);
	if (r->ring)
		printf(",\"ring\":%" PRIu64, r->ring);
	if (r->copyout)
		printf(",\"copyout\":true");
	if (r->hist) {
		const struct hist *h = r->hist;
		const double ns = 1 / r->ticks_per_ns;
		printf(",\"ns\":{\"min\":%.1f,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p99_9\":%.1f,"
		       "\"p99_99\":%.1f,\"p99_999\":%.1f,\"max\":%.1f,\"mean\":%.1f}",
		       (double)h->min * ns, (double)hist_at(h, .5) * ns, (double)hist_at(h, .9) * ns,
		       (double)hist_at(h, .99) * ns, (double)hist_at(h, .999) * ns,
		       (double)hist_at(h, .9999) * ns, (double)hist_at(h, .99999) * ns,
		       (double)h->max * ns, (double)h->sum / (double)h->total * ns);
	}
	printf(",\"msgs_per_s\":%.0f,\"bytes_per_s\":%.0f}\n", (double)r->count / r->seconds,
	       (double)r->count * (double)r->size / r->seconds);
}
