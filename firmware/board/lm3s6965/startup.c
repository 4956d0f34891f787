/*
 * Vector table and reset of a Cortex-M: copy .data, clear .bss, call main.
 */
#include <stddef.h>
#include <stdint.h>

extern uint32_t stack_top, data_load, data_start, data_end, bss_start, bss_end;

int main(void);
void Reset_Handler(void);
void Default_Handler(void);
void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int value, size_t n);
__attribute__((weak, alias("Default_Handler"))) void SysTick_Handler(void);
__attribute__((weak, alias("Default_Handler"))) void UART0_Handler(void);

/* What compilers call for structures. The attribute keeps gcc from making a call
 * to itself of the loop. */
#define NO_LOOP_TO_CALL __attribute__((optimize("no-tree-loop-distribute-patterns")))

NO_LOOP_TO_CALL void *memcpy(void *to, const void *from, size_t n) {
	uint8_t *t = to;
	const uint8_t *f = from;

	while (n > 0u) {
		n--;
		t[n] = f[n];
	}
	return to;
}

NO_LOOP_TO_CALL void *memset(void *to, int value, size_t n) {
	uint8_t *t = to;

	while (n > 0u) {
		n--;
		t[n] = (uint8_t)value;
	}
	return to;
}

void Reset_Handler(void) {
	const uint32_t *from = &data_load;
	uint32_t *to;

	for (to = &data_start; to < &data_end; to++) {
		*to = *from;
		from++;
	}
	for (to = &bss_start; to < &bss_end; to++) {
		*to = 0u;
	}
	(void)main();
	Default_Handler();
}

/* Anything unexpected stops the board where a debugger finds it. */
void Default_Handler(void) {
	for (;;) {
		__asm volatile("wfi");
	}
}

typedef void (*vector)(void);

__attribute__((section(".vectors"), used)) static const vector vectors[16 + 6] = {
	[0] = (vector)(uintptr_t)&stack_top,
	[1] = Reset_Handler,
	[2] = Default_Handler,
	[3] = Default_Handler,
	[4] = Default_Handler,
	[5] = Default_Handler,
	[6] = Default_Handler,
	[11] = Default_Handler,
	[12] = Default_Handler,
	[14] = Default_Handler,
	[15] = SysTick_Handler,
	[16 + 5] = UART0_Handler,
};
