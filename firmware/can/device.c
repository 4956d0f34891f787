/*
 * device.c: a device as cell_can.h makes it, for tests: the bus is the standard
 * input and output, a line for each frame.
 *
 *	now ROOM T              the clock, and how many frames the controller takes
 *	frame ID FD DATA        a frame for the device; "-" for no data
 *	event N                 send an event of N bytes, if that is possible now
 *
 * Every line is answered by the frames that the device sends, and ".".
 */
#include <stdio.h>
#include <string.h>

#include "../cell_can.h"

#define MOST 300u

static uint8_t in[CELL_CAN_BUFFER(MOST)], out[CELL_CAN_BUFFER(MOST)];
static cell_can can;
static unsigned room;

static uint8_t echo(cell_call *c) {
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
	{0x5555555555555555u, refuse, 0u}, /* a topic that the device sends to */
};

static uint8_t put(void *port, const cell_can_frame *f) {
	uint8_t i;

	(void)port;
	if (room == 0u) {
		return 0u;
	}
	room--;
	printf("frame %08x %u ", (unsigned)f->id, f->fd);
	for (i = 0u; i < f->length; i++) {
		printf("%02x", f->data[i]);
	}
	puts(f->length == 0u ? "-" : "");
	return 1u;
}

int main(void) {
	static char line[512], hex[256];
	unsigned id, fd, n, now = 0u;

	cell_can_init(&can, 5u, in, out, MOST, methods, 3u, put, NULL, 7u);
	while (fgets(line, sizeof line, stdin) != NULL) {
		if (sscanf(line, "now %u %u", &room, &now) == 2) {
			cell_can_poll(&can, now);
		} else if (sscanf(line, "frame %x %u %200s", &id, &fd, hex) == 3) {
			cell_can_frame f;
			const char *h = hex;

			memset(&f, 0, sizeof f);
			f.id = id;
			f.fd = (uint8_t)fd;
			for (; f.length < CELL_CAN_DATA && sscanf(h, "%2x", &n) == 1; h += 2) {
				f.data[f.length++] = (uint8_t)n;
			}
			cell_can_take(&can, &f, now);
		} else if (sscanf(line, "event %u", &n) == 1 && n <= MOST) {
			uint8_t *b = cell_can_payload(&can);

			if (b != NULL) {
				cell_header h = {0};

				memset(b, (int)n, n);
				h.kind = CELL_EVENT;
				h.fingerprint = methods[2].fingerprint;
				h.hops = CELL_HOPS;
				h.length = n;
				cell_can_send(&can, &h, 2u);
			}
		}
		puts(".");
		fflush(stdout);
	}
	return 0;
}
