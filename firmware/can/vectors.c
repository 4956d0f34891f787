/*
 * vectors.c: cell_can.h against testdata/can/vectors.txt, which the Go
 * implementation wrote and reads too: encodes every vesicle to the same frames,
 * decodes the frames to the same vesicle, refuses what must be refused.
 *
 *	cc -DCELL_CAN_DATA=64u -DCELL_CAN_BITS=5u vectors.c && ./a.out vectors.txt
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../cell_can.h"

#define MOST 512u
#define METHODS 8

static uint8_t in[CELL_CAN_BUFFER(MOST)], out[CELL_CAN_BUFFER(MOST)];
static cell_method methods[METHODS];
static cell_can encoder, decoder;
static int line, failures, checked;

static void fail(const char *what) {
	printf("line %d: %s\n", line, what);
	failures++;
}

static size_t bytes(uint8_t *b, const char *hex) {
	size_t n = 0;
	unsigned x;

	for (; hex[0] != '-' && hex[0] != 0 && sscanf(hex, "%2x", &x) == 1; hex += 2) {
		b[n++] = (uint8_t)x;
	}
	return n;
}

/* begin prepares one side as it is right after the hello. */
static void begin(cell_can *c, unsigned size, unsigned bits, unsigned to, unsigned from, uint8_t count) {
	cell_can_init(c, (uint8_t)from, in, out, MOST, methods, count, NULL, NULL, 1u);
	c->peer = (uint8_t)to;
	c->link.open = 1;
	c->link.size = (uint8_t)size;
	c->link.mask = (uint8_t)((1u << bits) - 1u);
	c->link.limit = 0x7FFF;
}

static unsigned size, bits, to, from;
static uint8_t count;

static void start(void) {
	begin(&encoder, size, bits, to, from, count);
	begin(&decoder, size, bits, to, from, count);
}

static void read_link(char *s) {
	char *word;
	unsigned *const numbers[] = {&size, &bits, &to, &from};
	size_t i = 0;

	for (count = 0, word = strtok(s, " \n"); word != NULL; word = strtok(NULL, " \n"), i++) {
		if (i < 4) {
			*numbers[i] = (unsigned)atoi(word);
		} else {
			methods[count++].fingerprint = strtoull(word, NULL, 16);
		}
	}
	start();
}

static cell_header want;
static uint8_t payload[MOST];

static void read_vesicle(const char *s) {
	static char hex[2 * MOST + 2];
	unsigned kind, flags, channel, hops, correlation;
	unsigned long long print;
	uint32_t method = 0;

	if (sscanf(s, "%u %u %u %u %x %llx %1025s", &kind, &flags, &channel, &hops, &correlation, &print, hex) != 7) {
		fail("no vesicle");
		return;
	}
	want.kind = (uint8_t)kind;
	want.flags = (uint8_t)flags;
	want.channel = (uint8_t)channel;
	want.hops = (uint8_t)hops;
	want.correlation = correlation;
	want.fingerprint = print;
	want.length = (uint32_t)bytes(payload, hex);
	if (cell_can_busy(&encoder)) {
		fail("too few frames for the vesicle before");
	}
	while (method < count && methods[method].fingerprint != print) {
		method++;
	}
	memcpy(&out[CELL_CAN_PREFIX], payload, want.length);
	cell_can_begin(&encoder, &want, method);
}

static void compare(const cell_call *call) {
	const cell_header *h = &call->header;

	if (h->kind != want.kind || h->flags != want.flags || h->channel != want.channel || h->hops != want.hops ||
	    h->correlation != want.correlation || h->fingerprint != want.fingerprint || h->length != want.length ||
	    memcmp(call->request, payload, h->length) != 0) {
		fail("decoded to another vesicle");
	}
	checked++;
}

static cell_result take(const cell_can_frame *f, cell_call *call) {
	cell_result r;

	decoder.link.out_done = decoder.link.out_total = 0; /* never busy */
	r = cell_can_join(&decoder, f, call);
	return r;
}

int main(int argc, char **argv) {
	static char s[4096];
	static char hex[256];
	FILE *f = fopen(argc > 1 ? argv[1] : "vectors.txt", "r");
	int bad = 0;
	cell_result last = CELL_MORE;

	if (f == NULL) {
		perror("vectors");
		return 2;
	}
	while (fgets(s, sizeof s, f) != NULL) {
		cell_can_frame frame, made;
		cell_call call;
		unsigned id, fd;

		line++;
		if (strncmp(s, "frame ", 6) != 0 && bad) {
			if (last <= CELL_MORE) {
				fail("the frames before were not refused");
			}
			checked++;
			bad = 0;
			start();
		}
		last = CELL_MORE;
		if (strncmp(s, "link ", 5) == 0) {
			read_link(s + 5);
		} else if (strncmp(s, "vesicle ", 8) == 0) {
			read_vesicle(s + 8);
		} else if (strncmp(s, "bad ", 4) == 0) {
			bad = 1;
			start();
		} else if (strncmp(s, "frame ", 6) == 0) {
			memset(&frame, 0, sizeof frame);
			memset(&made, 0, sizeof made);
			if (sscanf(s + 6, "%x %u %200s", &id, &fd, hex) != 3) {
				fail("no frame");
				continue;
			}
			frame.id = id;
			frame.fd = (uint8_t)fd;
			frame.length = (uint8_t)bytes(frame.data, hex);
			if (!bad) {
				encoder.link.out_done = (uint16_t)cell_can_cut(&encoder.link, &made);
				encoder.link.sent++;
				if (made.id != frame.id || made.fd != frame.fd || made.length != frame.length ||
				    memcmp(made.data, frame.data, frame.length) != 0) {
					fail("encoded to another frame");
				}
			}
			last = take(&frame, &call);
			if (!bad && last > CELL_MORE) {
				fail("refused");
			} else if (!bad && last == CELL_OK) {
				compare(&call);
				if (cell_can_busy(&encoder)) {
					fail("whole before its last frame");
				}
			}
		}
	}
	if (bad && last <= CELL_MORE) {
		fail("the frames before were not refused");
	}
	fclose(f);
	printf("%d checked, %d failures\n", checked, failures);
	return (failures == 0 && checked > 300) ? 0 : 1;
}
