/* SPDX-License-Identifier: Apache-2.0
 *
 * The terminal that belay itself runs in.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <termios.h>

struct terminal {
        bool raw;
        struct termios saved;
};

/* Keys go to the container untouched, ^C included, until terminal_restore(). Nothing happens when
 * standard input is no terminal. */
void terminal_set_raw(struct terminal *terminal);
void terminal_restore(struct terminal *terminal);

/* Of standard output or, when that is no terminal, of standard input. False without a size. */
bool terminal_size(uint16_t *ret_width, uint16_t *ret_height);
