/*
 * A node that is fed whatever a fuzzer thinks of. Built with clang
 * -fsanitize=fuzzer it is a libFuzzer target; without, it has a loop of its own
 * that makes inputs from a seed: fuzz SECONDS [SEED].
 *
 * An input is bytes from the line. Half of the inputs are first given right
 * checksums, or no fuzzer would get behind them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../cell.h"

#define LIMIT 300u

static cell_node node;
static uint8_t *buffer; /* on the heap, so that a byte too far is seen */
static uint8_t out[CELL_LINE_BUFFER(LIMIT)];
static cell_stream stream;
static cell_line check; /* reads what the node writes */
static uint8_t checked[CELL_LINE_BUFFER(LIMIT)];
static unsigned long frames, answers;

static void must(int condition, const char *what) {
	if (!condition) {
		fprintf(stderr, "fuzz: %s\n", what);
		abort();
	}
}

/* What the node writes must always be frames. */
static void put(void *port, uint8_t b) {
	cell_result r = cell_line_byte(&check, b);
	cell_header h;

	must(port == &node, "the port is another");
	must((r == CELL_OK) || (r == CELL_MORE), "the node wrote no frame");
	if (r == CELL_OK) {
		answers++;
		if (check.buffer[0] != CELL_LINE_HELLO) {
			must(cell_line_get(&h, check.buffer, check.n) == CELL_OK, "the node wrote no vesicle");
		}
	}
}

static uint8_t echo(cell_call *c) {
	uint32_t i;

	must(c->header.kind == CELL_REQUEST, "a kind that was not asked for");
	for (i = 0u; i < c->header.length; i++) {
		c->reply[i] = c->request[i];
	}
	c->replied = c->header.length;
	return (c->header.length > 0u) ? CELL_STATUS_OK : c->header.hops;
}

static uint8_t feed(cell_call *c) {
	if (c->header.kind == CELL_REQUEST) {
		cell_stream_open(&stream, c, 2u);
		return CELL_STATUS_LATER;
	}
	cell_stream_take(&stream, c);
	if ((cell_stream_is_open(&stream, c->node) != 0u) && (stream.credit > 0u)) {
		cell_stream_send(&stream, c->node, out, CELL_STREAM_ITEM, c->header.length % 100u);
	}
	return CELL_STATUS_OK;
}

static const cell_method methods[] = {
	{0x0101010101010101u, echo, CELL_ON_UNARY},
	{0x0202020202020202u, feed, CELL_ON_STREAM},
};

static void take(uint8_t b) {
	cell_result r = cell_node_byte(&node, b);

	must(r <= CELL_TOO_LONG, "an unknown result");
	must(node.line.n <= node.line.size + 1u, "more bytes than the buffer has");
	frames += (r == CELL_OK) ? 1u : 0u;
}

static void put_input(void *port, uint8_t b) {
	(void)port;
	take(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	uint8_t body[CELL_LINE_BUFFER(LIMIT)];
	size_t i = 0u;

	buffer = malloc(CELL_LINE_BUFFER(LIMIT));
	memset(&check, 0, sizeof(check));
	check.buffer = checked;
	check.size = sizeof(checked);
	memset(&stream, 0, sizeof(stream));
	cell_node_init(&node, buffer, LIMIT, methods, 2u, put, &node, 7u);
	if ((size > 0u) && ((data[0] & 1u) != 0u)) {
		/* Pieces, each as the body of a frame. */
		for (i = 1u; i < size;) {
			size_t n = data[i] % 64u;

			i++;
			n = (n < (size - i)) ? n : size - i;
			memcpy(body, &data[i], n);
			if ((n > 9u) && ((body[n - 1u] & 1u) != 0u)) {
				memset(&body[1], ((body[n - 1u] & 2u) != 0u) ? 1 : 2, 8u); /* a method that is there */
			}
			cell_line_send(body, n, put_input, NULL);
			i += n;
		}
	} else {
		for (i = 1u; i < size; i++) {
			take(data[i]);
		}
	}
	free(buffer);
	return 0;
}

#ifndef CELL_LIBFUZZER
static uint64_t state;

static uint32_t draw(uint32_t below) {
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 33) % below;
}

int main(int argc, char **argv) {
	const int seconds = (argc > 1) ? atoi(argv[1]) : 1;
	const time_t end = time(NULL) + seconds;
	unsigned long runs = 0u;
	uint8_t data[1024];

	state = (argc > 2) ? strtoull(argv[2], NULL, 10) : 88172645463325252u;
	while (time(NULL) < end) {
		const uint32_t size = 1u + draw(sizeof(data) - 1u);
		const uint32_t style = draw(4u);
		uint32_t i;

		for (i = 0u; i < size; i++) {
			data[i] = (uint8_t)((style == 0u) ? draw(256u) : ((style == 1u) ? draw(4u) : draw(40u)));
			if ((style == 3u) && (draw(3u) == 0u)) {
				data[i] = (uint8_t)draw(256u);
			}
		}
		(void)LLVMFuzzerTestOneInput(data, size);
		runs++;
	}
	printf("%lu inputs, %lu frames, %lu answers\n", runs, frames, answers);
	must((frames > 100u) && (answers > 100u), "hardly anything got behind the checksum");
	return 0;
}
#endif
