/* A Cortex-M4F without anything else, for QEMU's board mps2-an386: start, stack, time and a way to speak.
 *
 * It speaks by semihosting, and counts instructions by the SysTick timer: with `-icount shift=0` QEMU lets one
 * nanosecond pass for an instruction, and the timer of this board ticks every 40. These are instructions, not cycles.
 */

#include "board.h"

#define TICK 40u
#define PATTERN 0xA5A5A5A5u

#define CPACR (*(volatile uint32_t *)0xE000ED88u)
#define SYST_CSR (*(volatile uint32_t *)0xE000E010u)
#define SYST_RVR (*(volatile uint32_t *)0xE000E014u)
#define SYST_CVR (*(volatile uint32_t *)0xE000E018u)
#define LONGEST 0xFFFFFFu

extern uint32_t board_data_from[], board_data[], board_data_end[], board_bss[], board_bss_end[];
extern uint32_t board_stack_end[], board_stack_top[];

int main(void);
void board_reset(void);
static uint32_t painted_from;

static int semihosting(int operation, const void *argument) {
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static void board_exit(int failed) {
    /* SYS_EXIT_EXTENDED with ADP_Stopped_ApplicationExit. */
    const uint32_t why[2] = {0x20026u, (uint32_t)failed};
    semihosting(0x20, why);
    for (;;) {
    }
}

static void board_fault(void) {
    board_write("fault\n");
    board_exit(3);
}

__attribute__((section(".vectors"), used)) static void (*const vectors[16])(void) = {
    (void (*)(void))board_stack_top, board_reset, board_fault, board_fault, board_fault, board_fault, board_fault,
};

__attribute__((naked)) void board_reset(void) {
    /* Full access to the floating point unit, before the compiler's code may use it. */
    CPACR |= 0xFu << 20;
    __asm__ volatile("dsb\n isb\n b board_begin");
}

__attribute__((used)) void board_begin(void) {
    uint32_t *from = board_data_from;
    for (uint32_t *to = board_data; to < board_data_end; ++to) {
        *to = *from++;
    }
    for (uint32_t *to = board_bss; to < board_bss_end; ++to) {
        *to = 0;
    }
    board_exit(main());
}

void board_write(const char *text) {
    semihosting(0x04, text);
}

void board_start(void) {
    SYST_CSR = 0;
    SYST_RVR = LONGEST;
    SYST_CVR = 0;
    SYST_CSR = 5;
}

uint32_t board_stop(void) {
    const uint32_t left = SYST_CVR;
    const uint32_t wrapped = SYST_CSR & 1u << 16;
    SYST_CSR = 0;
    /* After a wrap nobody knows how many there were. */
    return wrapped && left ? 0 : (LONGEST - left) * TICK;
}

__attribute__((noinline)) void board_paint(void) {
    register uint32_t *top __asm__("sp");
    painted_from = (uint32_t)top;
    for (volatile uint32_t *place = board_stack_end; place < top - 16; ++place) {
        *place = PATTERN;
    }
}

__attribute__((noinline)) uint32_t board_stack(void) {
    const volatile uint32_t *place = board_stack_end;
    while (place < board_stack_top && *place == PATTERN) {
        ++place;
    }
    return painted_from - (uint32_t)place;
}
