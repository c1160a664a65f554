/* SPDX-License-Identifier: Apache-2.0
 *
 * See terminal.h.
 */
#include "cmd/belay/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

void terminal_set_raw(struct terminal *terminal)
{
        struct termios mode;

        if (tcgetattr(STDIN_FILENO, &mode) < 0)
                return;
        terminal->saved = mode;
        cfmakeraw(&mode);
        terminal->raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &mode) == 0;
}

void terminal_restore(struct terminal *terminal)
{
        if (terminal->raw)
                (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &terminal->saved);
        terminal->raw = false;
}

bool terminal_size(uint16_t *ret_width, uint16_t *ret_height)
{
        struct winsize size;

        if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 &&
            ioctl(STDIN_FILENO, TIOCGWINSZ, &size) < 0)
                return false;
        if (size.ws_col == 0)
                return false;
        *ret_width = size.ws_col;
        *ret_height = size.ws_row;
        return true;
}
