/* limit measures what two cores of this host can do at best, and what a ring
 * equal to Cell's does in C. One measurement a run, one line of JSON on stdout.
 * Exit status: 0, 1 if the run failed, 2 if the flags were wrong. */
#include "measure.h"

#include <string.h>

static const struct measurement {
	const char *name;
	void (*run)(struct options *);
	const char *flags;
	const char *about;
	struct options defaults;
} measurements[] = {
	{"pingpong", pingpong, "count warmup", "round trip of one bare cache line each way",
	 {.count = 2000000, .warmup = 100000, .size = LINE}},
	{"ring-rtt", ring_rtt, "count warmup size ring", "round trip over two rings of records",
	 {.count = 2000000, .warmup = 100000, .size = LINE}},
	{"stream", stream, "size batch seconds ring", "one-way records over a ring",
	 {.size = LINE, .batch = 32, .seconds = 2}},
	{"copy", copy, "size batch seconds ring copyout", "one-way bytes by memcpy through slots",
	 {.size = 65536, .batch = 1, .seconds = 2}},
};

static _Noreturn void list(const char *why)
{
	fprintf(stderr, "limit: %s; usage: limit MEASUREMENT [FLAGS], where MEASUREMENT is\n", why);
	for (size_t i = 0; i < sizeof measurements / sizeof *measurements; i++)
		fprintf(stderr, "  %-9s %s\n            --cpus A,B --timeout SECONDS; %s\n",
			measurements[i].name, measurements[i].about, measurements[i].flags);
	usage("sizes are bytes of a whole record (24 of them commit word and header); K, M, G are "
	      "powers of 1024");
}

int main(int argc, char **argv)
{
	if (argc < 2)
		list("no measurement named");
	for (size_t i = 0; i < sizeof measurements / sizeof *measurements; i++) {
		const struct measurement *m = &measurements[i];
		if (strcmp(argv[1], m->name))
			continue;
		struct options o = m->defaults;
		o.cpu_a = 0;
		o.cpu_b = 1;
		o.timeout = 60;
		parse(&o, argc, argv, 2, m->flags);
		m->run(&o);
		if (fflush(stdout))
			die("can't write the result");
		return 0;
	}
	list("unknown measurement");
}
