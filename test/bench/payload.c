/* SPDX-License-Identifier: Apache-2.0
 *
 * What runs in the benchmarks' containers; static, with no library start-up to speak of.
 *
 *   true       end at once
 *   stamp      write CLOCK_MONOTONIC nanoseconds to stdout as 8 bytes, and end
 *   pause      wait for a signal
 *   spew N     write N MiB to stdout, and end
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char buffer[1 << 16];

static int spew(long mebibytes)
{
        for (long left = mebibytes * (1 << 20); left > 0;) {
                ssize_t n = write(1, buffer,
                                  left < (long)sizeof(buffer) ? (size_t)left : sizeof(buffer));

                if (n < 0)
                        return 1;
                left -= n;
        }
        return 0;
}

int main(int argc, char **argv)
{
        const char *what = argc > 1 ? argv[1] : "";

        if (strcmp(what, "true") == 0)
                return 0;
        if (strcmp(what, "stamp") == 0) {
                struct timespec ts;
                uint64_t ns;

                (void)clock_gettime(CLOCK_MONOTONIC, &ts);
                ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
                _exit(write(1, &ns, sizeof(ns)) == (ssize_t)sizeof(ns) ? 0 : 1);
        }
        if (strcmp(what, "pause") == 0) {
                for (;;)
                        (void)pause();
        }
        if (strcmp(what, "spew") == 0 && argc > 2)
                return spew(strtol(argv[2], NULL, 10));
        return 2;
}
