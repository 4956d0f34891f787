/*
 * The demo: a board with a thermometer and an LED serves the service that
 * device/device.cell describes, on its UART.
 */
#include "../board/board.h"
#include "device_cell.h"

#define LIMIT 64u

static uint8_t in[CELL_LINE_BUFFER(LIMIT)];
static uint8_t out[CELL_LINE_BUFFER(LIMIT)];
static cell_node node;

static uint8_t led_on;

/* Who listens to the LED, and who wants measurements: one each, which is enough
 * for a line with one host at its other end. */
static cell_stream led_watch, samples;
static device_sampling_t sampling;
static uint32_t sampled, sampled_last;
static uint32_t sequence;

static void copy(void *to, const void *from, uint32_t n) {
	uint8_t *t = to;
	const uint8_t *f = from;
	uint32_t i;

	for (i = 0u; i < n; i++) {
		t[i] = f[i];
	}
}

/* measure stands for a sensor: a temperature that goes up and down. */
static device_reading_t measure(void) {
	device_reading_t r;

	r.at = board_now();
	r.sequence = sequence;
	r.temperature = 21000 + (int32_t)(sequence % 200u) * 10;
	sequence++;
	return r;
}

static uint8_t device_read(cell_call *c) {
	const device_reading_t r = measure();

	copy(c->reply, &r, sizeof(r));
	c->replied = sizeof(r);
	return CELL_STATUS_OK;
}

static uint8_t device_set_led(cell_call *c) {
	const uint8_t before = led_on;

	if ((c->header.length < sizeof(device_led_t)) || (c->request[0] > 1u)) {
		return CELL_STATUS_INVALID_ARGUMENT;
	}
	led_on = c->request[0];
	board_led(led_on);
	c->reply[0] = before;
	c->replied = sizeof(device_led_t);
	if ((led_on != before) && (cell_stream_is_open(&led_watch, &node) != 0u) && (led_watch.credit > 0u)) {
		out[CELL_LINE_HEADER] = led_on;
		cell_stream_send(&led_watch, &node, out, CELL_EVENT, sizeof(device_led_t));
	}
	return CELL_STATUS_OK;
}

static uint8_t device_turn(cell_call *c) {
	device_block_t b;
	uint32_t i;

	if (c->header.length < sizeof(b)) {
		return CELL_STATUS_INVALID_ARGUMENT;
	}
	for (i = 0u; i < sizeof(b); i++) {
		b.bytes[sizeof(b) - 1u - i] = (uint8_t)~c->request[i];
	}
	copy(c->reply, &b, sizeof(b));
	c->replied = sizeof(b);
	return CELL_STATUS_OK;
}

static uint8_t device_sample(cell_call *c) {
	if (c->header.kind != CELL_REQUEST) {
		cell_stream_take(&samples, c);
		return CELL_STATUS_OK;
	}
	if (c->header.length < sizeof(sampling)) {
		return CELL_STATUS_INVALID_ARGUMENT;
	}
	if (cell_stream_is_open(&samples, &node) != 0u) {
		return CELL_STATUS_RESOURCE_EXHAUSTED;
	}
	copy(&sampling, c->request, sizeof(sampling));
	sampled = 0u;
	sampled_last = board_now();
	cell_stream_open(&samples, c, 0u);
	return CELL_STATUS_LATER;
}

/* sample sends what is due of the stream. */
static void sample(void) {
	device_sampled_t reply;
	device_reading_t r;

	if (cell_stream_is_open(&samples, &node) == 0u) {
		return;
	}
	if (sampled >= sampling.count) {
		reply.sent = sampled;
		copy(&out[CELL_LINE_HEADER], &reply, sizeof(reply));
		cell_stream_send(&samples, &node, out, CELL_REPLY, sizeof(reply));
	} else if ((samples.credit > 0u) && ((board_now() - sampled_last) >= sampling.every)) {
		sampled_last = board_now();
		sampled++;
		r = measure();
		copy(&out[CELL_LINE_HEADER], &r, sizeof(r));
		cell_stream_send(&samples, &node, out, CELL_STREAM_ITEM, sizeof(r));
	} else {
		/* nothing is due */
	}
}

/* A subscription is a call: its request says flags and first credit, the first
 * stream item that it was understood, events follow, cancel ends it. */
static uint8_t device_led_changed(cell_call *c) {
	if (c->header.kind != CELL_REQUEST) {
		cell_stream_take(&led_watch, c);
		return CELL_STATUS_OK;
	}
	if (c->header.length < 8u) {
		return CELL_STATUS_INVALID_ARGUMENT;
	}
	cell_stream_open(&led_watch, c, cell_get32(&c->request[4]) + 1u);
	cell_put(&out[CELL_LINE_HEADER], 0u, 8u); /* no event was lost so far */
	cell_stream_send(&led_watch, &node, out, CELL_STREAM_ITEM, 8u);
	return CELL_STATUS_LATER;
}

int main(void) {
	board_init();
	cell_node_init(&node, in, LIMIT, device_methods, DEVICE_METHODS, board_write, NULL, board_session());
	cell_hello(&node);
	for (;;) {
		int b = board_read();

		while (b >= 0) {
			(void)cell_node_byte(&node, (uint8_t)b);
			b = board_read();
		}
		sample();
		if ((cell_stream_is_open(&samples, &node) == 0u) || (samples.credit == 0u) || (sampling.every != 0u)) {
			board_sleep();
		}
	}
}
