/*
 * What cell.h costs: a service of two methods over a UART that is polled, and
 * nothing else. TestSize links it without startup code and holds its sections to
 * the limits; it is not run.
 */
#include "../cell.h"

#ifndef LIMIT
#define LIMIT 128u
#endif

/* Two registers stand for a UART; what a real one takes is not Cell's. */
extern volatile uint32_t uart_data, led_data;

static uint8_t buffer[CELL_LINE_BUFFER(LIMIT)];
static cell_node node;

static uint8_t ping(cell_call *c) {
	/* Without a deadline the two are in one place, and nothing need move. */
	uint32_t i;

	for (i = 0u; i < c->header.length; i++) {
		c->reply[i] = c->request[i];
	}
	c->replied = c->header.length;
	return CELL_STATUS_OK;
}

static uint8_t set(cell_call *c) {
	if (c->header.length != 1u) {
		return CELL_STATUS_INVALID_ARGUMENT;
	}
	led_data = c->request[0];
	return CELL_STATUS_OK;
}

static const cell_method methods[] = {
	{0x0123456789abcdefu, ping, CELL_ON_UNARY},
	{0xfedcba9876543210u, set, CELL_ON_UNARY},
};

static void put(void *port, uint8_t b) {
	(void)port;
	uart_data = b;
}

int main(void) {
	cell_node_init(&node, buffer, LIMIT, methods, 2u, put, NULL, 1u);
	cell_hello(&node);
	for (;;) {
		(void)cell_node_byte(&node, (uint8_t)uart_data);
	}
}
