/*
 * cell_can.h fed with whatever a fuzzer thinks of. Built with clang
 * -fsanitize=fuzzer it is a libFuzzer target; without, it has a loop of its own:
 * fuzz_can SECONDS [SEED].
 *
 * An input is a script: frames from the bus, the clock, room in the controller,
 * vesicles to send. So that a fuzzer gets behind the handshake, half of the
 * inputs begin with one, and frames are addressed to the device.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../cell_can.h"

#define LIMIT 200u
#define DEVICE 5u
#define HOST 1u

static cell_can can;
static uint8_t *in, *out; /* on the heap, so that a byte too far is seen */
static unsigned room;
static unsigned long frames, answers;

static void must(int condition, const char *what) {
	if (!condition) {
		fprintf(stderr, "fuzz_can: %s\n", what);
		abort();
	}
}

/* What the device sends must be frames that the format has, from itself. */
static uint8_t put(void *port, const cell_can_frame *f) {
	must(port == &can, "the port is another");
	must((f->id >> 29) == 0u, "an identifier of more than 29 bits");
	must(((f->id >> 9) & 0x7Fu) == DEVICE, "a frame in another's name");
	must((f->length <= 8u) || ((f->fd != 0u) && (f->length <= CELL_CAN_DATA)), "a length that the format has not");
	if (room == 0u) {
		return 0u;
	}
	room--;
	answers++;
	return 1u;
}

static uint8_t echo(cell_call *c) {
	must(c->header.length <= LIMIT, "a request longer than the buffer");
	memcpy(c->reply, c->request, c->header.length);
	c->replied = c->header.length;
	return CELL_STATUS_OK;
}

static uint8_t refuse(cell_call *c) {
	(void)c;
	return CELL_STATUS_OUT_OF_RANGE;
}

static const cell_method methods[] = {
	{0x0123456789abcdefu, echo, CELL_ON_UNARY},
	{0xfedcba9876543210u, refuse, CELL_ON_UNARY},
	{0x5555555555555555u, refuse, 0u},
};

static void control(uint32_t op, uint32_t argument, uint32_t a, uint32_t b, uint32_t now) {
	cell_can_frame f;

	memset(&f, 0, sizeof(f));
	f.id = (6u << 26) | (DEVICE << 16) | (HOST << 9) | (op << 6) | argument;
	f.length = 8u;
	cell_put32(f.data, a);
	cell_put32(&f.data[4], b);
	cell_can_take(&can, &f, now);
}

/* What a host says first: a hello of session 9, that it has the device's, and that
 * it takes 32 frames. */
static void handshake(uint32_t now) {
	control(0u, 0u, 0x20u | 2u | (32u << 8) | (LIMIT << 16), 9u, now);
	control(2u, 0u, 0u, can.session | (9u << 16), now);
	control(3u, 0u, 32u << 16, can.session, now);
	must(can.link.open != 0u, "the link is not open");
	cell_can_poll(&can, now);
}

static void frame(const uint8_t *b, size_t n, uint32_t now) {
	cell_can_frame f;

	memset(&f, 0, sizeof(f));
	f.id = cell_get32(b) & 0x1FFFFFFFu;
	if ((b[3] & 0x80u) != 0u) { /* from the host, to the device */
		f.id = (f.id & ~0x7FFE00u) | (DEVICE << 16) | (HOST << 9);
	}
	f.length = (uint8_t)((n - 4u) < CELL_CAN_DATA ? (n - 4u) : CELL_CAN_DATA);
	f.fd = (f.length > 8u) ? 1u : 0u;
	memcpy(f.data, &b[4], f.length);
	if (((b[3] & 0xC0u) == 0xC0u) && (f.length == 8u)) { /* of this link, if it is a control frame */
		f.id &= ~(7u << 23);
		cell_put(&f.data[4], can.session, 2u);
		if ((b[3] & 0x20u) != 0u) { /* and about frames that are under way */
			cell_put(f.data, can.link.sent - (f.data[0] & 31u), 2u);
			f.data[6] = (uint8_t)((f.data[6] & 1u) | (can.link.back & 0xFEu));
		}
	}
	frames++;
	cell_can_take(&can, &f, now);
	must(can.link.out_done <= can.link.out_total, "more was sent than there is");
	must(can.link.out_total <= CELL_CAN_BUFFER(LIMIT), "more is to be sent than the buffer holds");
}

static void event(size_t n) {
	uint8_t *b = cell_can_payload(&can);

	if (b != NULL) {
		cell_header h = {0};

		memset(b, (int)n, n);
		h.kind = CELL_EVENT;
		h.fingerprint = methods[2].fingerprint;
		h.hops = CELL_HOPS;
		h.length = (uint32_t)n;
		(void)cell_can_send(&can, &h, 2u);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	uint32_t now = 1u;
	size_t i;

	in = malloc(CELL_CAN_BUFFER(LIMIT));
	out = malloc(CELL_CAN_BUFFER(LIMIT));
	memset(in, 0, CELL_CAN_BUFFER(LIMIT));
	memset(out, 0, CELL_CAN_BUFFER(LIMIT));
	room = 16u;
	cell_can_init(&can, DEVICE, in, out, LIMIT, methods, 3u, put, &can, 7u);
	cell_can_poll(&can, now);
	if ((size > 0u) && ((data[0] & 1u) != 0u)) {
		handshake(now);
	}
	for (i = 1u; i < size;) {
		size_t n = data[i] & 0x0Fu;

		switch (data[i] >> 6) {
		case 0u:
			room = (unsigned)n;
			now += (uint32_t)n * 40u;
			cell_can_poll(&can, now);
			i++;
			break;
		case 1u:
			event(((size_t)n * 13u) % (LIMIT + 1u));
			i++;
			break;
		default:
			i++;
			n = (n > 4u) ? n : 4u;
			if ((size - i) < n) {
				i = size;
				break;
			}
			frame(&data[i], n, now);
			i += n;
			break;
		}
	}
	free(in);
	free(out);
	return 0;
}

#ifndef CELL_LIBFUZZER
static uint64_t state;

static uint32_t any(void) { /* xorshift64* */
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (uint32_t)((state * 0x2545F4914F6CDD1Du) >> 32);
}

int main(int argc, char **argv) {
	static uint8_t input[512];
	const long seconds = (argc > 1) ? strtol(argv[1], NULL, 10) : 2;
	const time_t end = time(NULL) + seconds;
	unsigned long inputs = 0u;

	state = (argc > 2) ? strtoull(argv[2], NULL, 10) | 1u : 1u;
	while (time(NULL) < end) {
		const size_t n = any() % sizeof(input);
		size_t i;

		for (i = 0u; i < n; i++) {
			input[i] = (uint8_t)any();
		}
		LLVMFuzzerTestOneInput(input, n);
		inputs++;
	}
	printf("%lu inputs, %lu frames in, %lu out\n", inputs, frames, answers);
	return 0;
}
#endif
