/* SPDX-License-Identifier: Apache-2.0
 *
 * See measure.h.
 */
#include "test/bench/measure.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/fd.h"

#include "test/bench/client.h"

double us(uint64_t from, uint64_t to)
{
        return (double)(to - from) / 1000.0;
}

double cpu_ms(uint32_t pid)
{
        char path[64];
        char *text = NULL;
        char *p;
        unsigned long ticks;

        (void)snprintf(path, sizeof(path), "/proc/%u/stat", pid);
        if (file_read(AT_FDCWD, path, 4096, &text, NULL) < 0)
                fail("read %s", path);
        p = strrchr(text, ')');
        for (int i = 0; p && i < 12; i++) /* to utime, behind which stime is: proc_pid_stat(5) */
                p = strchr(p + 1, ' ');
        if (!p)
                fail("parse %s", path);
        ticks = strtoul(p, &p, 10);
        ticks += strtoul(p, NULL, 10);
        free(text);
        return (double)ticks * 1000.0 / (double)sysconf(_SC_CLK_TCK);
}

static int compare_double(const void *a, const void *b)
{
        double x = *(const double *)a;
        double y = *(const double *)b;

        return (x > y) - (x < y);
}

void print_quantiles(const char *name, double *samples, size_t n)
{
        qsort(samples, n, sizeof(*samples), compare_double);
        printf("\"%s\":%.1f,\"%s_p99\":%.1f,", name, samples[n / 2], name, samples[n * 99 / 100]);
}
