/*
 * What cell_can.h costs: a device with two methods and nothing else. TestSize of
 * package can compiles it for two cores and holds it to the limits; it is not
 * run. The controller is somebody else's.
 */
#include "../cell_can.h"

extern uint8_t controller_send(void *port, const cell_can_frame *f);
extern uint8_t controller_receive(cell_can_frame *f);
extern uint32_t milliseconds(void);
extern uint8_t read_sensor(cell_call *c);
extern uint8_t set_led(cell_call *c);

static uint8_t in[CELL_CAN_BUFFER(64)], out[CELL_CAN_BUFFER(64)];
static cell_can can;

static const cell_method methods[] = {
	{0x0123456789abcdefu, read_sensor, CELL_ON_UNARY},
	{0xfedcba9876543210u, set_led, CELL_ON_UNARY},
};

int main(void) {
	cell_can_frame f;

	cell_can_init(&can, 5u, in, out, 64u, methods, 2u, controller_send, NULL, 1u);
	for (;;) {
		while (controller_receive(&f) != 0u) {
			cell_can_take(&can, &f, milliseconds());
		}
		cell_can_poll(&can, milliseconds());
	}
}
