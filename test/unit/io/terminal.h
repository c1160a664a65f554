/* SPDX-License-Identifier: Apache-2.0
 *
 * A terminal without a mind of its own, for tests: raw, and nobody's controlling one.
 */
#pragma once

#include <fcntl.h>
#include <stdlib.h>
#include <termios.h>

#include "test/unit/unit.h"

/* The slave does not block; master_flags: O_NONBLOCK, or 0. Both are CLOEXEC and the caller's. */
static inline void terminal_new(int *ret_master, int *ret_slave, int master_flags)
{
        struct termios t;

        *ret_master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | master_flags);
        assert_true(*ret_master >= 0);
        assert_int_equal(grantpt(*ret_master), 0);
        assert_int_equal(unlockpt(*ret_master), 0);
        *ret_slave = open(ptsname(*ret_master), O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
        assert_true(*ret_slave >= 0);
        assert_int_equal(tcgetattr(*ret_slave, &t), 0);
        cfmakeraw(&t);
        assert_int_equal(tcsetattr(*ret_slave, TCSANOW, &t), 0);
}
