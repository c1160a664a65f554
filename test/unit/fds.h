/* SPDX-License-Identifier: Apache-2.0
 *
 * How many descriptors this process has, for tests that leave as many as they found. The one by
 * which they are listed is among them each time, and so are the two names that are none.
 */
#pragma once

#include <dirent.h>

#include "test/unit/unit.h"

static inline int count_fds(void)
{
        DIR *dir = opendir("/proc/self/fd");
        int n = 0;

        assert_non_null(dir);
        while (readdir(dir))
                n++;
        (void)closedir(dir);
        return n;
}
