/*
 * What the demo needs of a board. A board is a folder with startup code, a linker
 * script and these functions.
 */
#ifndef BOARD_H
#define BOARD_H

#include <stdint.h>

/* board_init sets up the UART and the clock. */
void board_init(void);

/* board_write puts a byte on the UART and waits for room; it is a cell_write. */
void board_write(void *port, uint8_t b);

/* board_read takes the next byte from the UART's queue, or returns -1. */
int board_read(void);

/* board_sleep waits until there is a byte, or a millisecond has passed. */
void board_sleep(void);

/* board_now is the time since the start in milliseconds. */
uint32_t board_now(void);

/* board_led switches the LED. */
void board_led(uint32_t on);

/* board_session is a number that differs after each start, never 0. */
uint32_t board_session(void);

#endif
