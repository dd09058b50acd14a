/* What a self-test asks of the machine it runs on. */
#ifndef LIMBECK_BOARD_H
#define LIMBECK_BOARD_H

#include <stdint.h>

/* Writes a text to whoever watches. */
void board_write(const char *text);

/* Begins to count instructions; board_stop() says how many were executed since, where the machine can count. */
void board_start(void);
uint32_t board_stop(void);

/* Fills the free stack with a pattern; board_stack() says how many bytes below this call were used since. */
void board_paint(void);
uint32_t board_stack(void);

#endif
