/*
 * Stellaris LM3S6965 evaluation board (Cortex-M3), as QEMU's lm3s6965evb has it:
 * UART0 is a PL011 at interrupt 5, the LED is bit 0 of port F.
 */
#include "../board.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))

#define UART_DR REGISTER(0x4000C000u)
#define UART_FR REGISTER(0x4000C018u)
#define UART_IBRD REGISTER(0x4000C024u)
#define UART_FBRD REGISTER(0x4000C028u)
#define UART_LCRH REGISTER(0x4000C02Cu)
#define UART_CTL REGISTER(0x4000C030u)
#define UART_IM REGISTER(0x4000C038u)
#define FR_RX_EMPTY 0x10u
#define FR_TX_FULL 0x20u
#define IM_RX 0x10u
#define IM_RX_TIMEOUT 0x40u
#define LCRH_8N1_FIFO 0x70u
#define CTL_ON 0x301u

#define SYSTICK_CTRL REGISTER(0xE000E010u)
#define SYSTICK_LOAD REGISTER(0xE000E014u)
#define SYSTICK_VALUE REGISTER(0xE000E018u)
#define NVIC_ENABLE0 REGISTER(0xE000E100u)
#define UART0_IRQ 5u

#define RCGC1 REGISTER(0x400FE104u)
#define RCGC2 REGISTER(0x400FE108u)
#define GPIOF_DATA0 REGISTER(0x40025004u)
#define GPIOF_DIR REGISTER(0x40025400u)
#define GPIOF_DEN REGISTER(0x4002551Cu)

#define CLOCK_HZ 12000000u
#define BAUD 115200u

/* A queue that the interrupt fills and the main loop empties. Each index has one
 * writer. */
#define QUEUE 512u
static volatile uint8_t queue[QUEUE];
static volatile uint32_t queue_in, queue_out;
static volatile uint32_t ticks;

/* Not cleared at the start, so that it counts starts; see the linker script. */
static uint32_t starts __attribute__((section(".noinit")));

void SysTick_Handler(void);
void UART0_Handler(void);

void SysTick_Handler(void) { ticks++; }

/* Reading the data takes the interrupt back. It is not acknowledged by writing:
 * between the last look at the FIFO and the acknowledgement a byte may come,
 * whose interrupt would then be lost, and the byte lie there until the next.
 *
 * When the queue is full the rest stays in the FIFO, with the interrupt masked,
 * until board_read has made room. A UART with RTS then holds the sender. */
void UART0_Handler(void) {
	while ((UART_FR & FR_RX_EMPTY) == 0u) {
		const uint32_t next = (queue_in + 1u) % QUEUE;

		if (next == queue_out) {
			UART_IM = 0u;
			break;
		}
		queue[queue_in] = (uint8_t)UART_DR;
		queue_in = next;
	}
}

void board_init(void) {
	starts++;
	RCGC1 |= 1u;       /* clock of UART0 */
	RCGC2 |= 1u | 32u; /* of ports A and F */
	GPIOF_DIR |= 1u;
	GPIOF_DEN |= 1u;
	UART_CTL = 0u;
	UART_IBRD = CLOCK_HZ / (16u * BAUD);
	UART_FBRD = (((CLOCK_HZ % (16u * BAUD)) * 64u) + (8u * BAUD)) / (16u * BAUD);
	UART_LCRH = LCRH_8N1_FIFO;
	UART_IM = IM_RX | IM_RX_TIMEOUT;
	UART_CTL = CTL_ON;
	NVIC_ENABLE0 = 1u << UART0_IRQ;
	SYSTICK_LOAD = (CLOCK_HZ / 1000u) - 1u;
	SYSTICK_VALUE = 0u;
	SYSTICK_CTRL = 7u;
}

void board_write(void *port, uint8_t b) {
	(void)port;
	while ((UART_FR & FR_TX_FULL) != 0u) {
		/* the line is slower than the processor */
	}
	UART_DR = b;
}

int board_read(void) {
	int b = -1;

	if (queue_out != queue_in) {
		b = queue[queue_out];
		queue_out = (queue_out + 1u) % QUEUE;
	}
	if (UART_IM == 0u) {
		UART_IM = IM_RX | IM_RX_TIMEOUT; /* there is room again, or nothing left */
	}
	return b;
}

/* With interrupts masked the processor still wakes on one, and a byte that came
 * between the look and the sleep is not slept through. */
void board_sleep(void) {
	__asm volatile("cpsid i" ::: "memory");
	if (queue_out == queue_in) {
		__asm volatile("wfi" ::: "memory");
	}
	__asm volatile("cpsie i" ::: "memory");
}

uint32_t board_now(void) { return ticks; }
void board_led(uint32_t on) { GPIOF_DATA0 = on; }

/* A device with a source of random numbers takes one of those. */
uint32_t board_session(void) { return (starts * 2654435761u) | 1u; }
