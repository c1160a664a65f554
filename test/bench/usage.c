/* SPDX-License-Identifier: Apache-2.0
 *
 * See usage.h. The time is that of /proc/PID/task/TID/schedstat, in nanoseconds; stat(5) has ticks
 * of 10 ms.
 */
#include "test/bench/usage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"

#include "test/bench/client.h"

enum { PROCESSES_MAX = 8192 };

struct table {
        size_t n;
        struct {
                pid_t pid;
                pid_t parent;
                bool counts;
        } all[PROCESSES_MAX];
};

static DIR *open_folder(const char *path)
{
        DIR *dir = opendir(path);

        if (!dir)
                fail("open %s: %s", path, strerror(errno));
        return dir;
}

/* False when the process is gone. */
static bool parent_of(pid_t pid, pid_t *ret)
{
        _cleanup_free_ char *text = NULL;
        char path[64];
        const char *p;

        (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
        if (file_read(AT_FDCWD, path, 4096, &text, NULL) < 0)
                return false;
        p = strrchr(text, ')');
        if (!p || strlen(p) < strlen(") S 1"))
                return false;
        *ret = (pid_t)strtol(p + strlen(") S "), NULL, 10);
        return true;
}

static void read_table(struct table *t)
{
        DIR *dir = open_folder("/proc");
        const struct dirent *entry;

        t->n = 0;
        while ((entry = readdir(dir))) {
                pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

                if (pid <= 0 || !parent_of(pid, &t->all[t->n].parent))
                        continue;
                if (t->n + 1 == PROCESSES_MAX)
                        fail("more than %d processes", PROCESSES_MAX);
                t->all[t->n].pid = pid;
                t->all[t->n].counts = false;
                t->n++;
        }
        (void)closedir(dir);
}

static bool is_among(pid_t pid, const pid_t *pids, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                if (pids[i] == pid)
                        return true;
        }
        return false;
}

/* Children whose parent counts, until there is no other. */
static void mark(struct table *t, pid_t shim, const pid_t *without, size_t n_without)
{
        bool found = true;

        for (size_t i = 0; i < t->n; i++)
                t->all[i].counts = t->all[i].pid == shim;
        while (found) {
                found = false;
                for (size_t i = 0; i < t->n; i++) {
                        for (size_t k = 0; k < t->n; k++) {
                                if (t->all[i].counts || !t->all[k].counts ||
                                    t->all[i].parent != t->all[k].pid ||
                                    is_among(t->all[i].pid, without, n_without))
                                        continue;
                                t->all[i].counts = true;
                                found = true;
                        }
                }
        }
}

static uint64_t cpu_ns(pid_t pid)
{
        char folder[64];
        const struct dirent *entry;
        uint64_t sum = 0;
        DIR *dir;

        (void)snprintf(folder, sizeof(folder), "/proc/%d/task", (int)pid);
        dir = open_folder(folder);
        while ((entry = readdir(dir))) {
                _cleanup_free_ char *text = NULL;
                char path[384];

                if (entry->d_name[0] == '.')
                        continue;
                (void)snprintf(path, sizeof(path), "%s/%s/schedstat", folder, entry->d_name);
                if (file_read(AT_FDCWD, path, 4096, &text, NULL) < 0)
                        fail("read %s: this kernel has no CONFIG_SCHED_INFO", path);
                sum += strtoull(text, NULL, 10);
        }
        (void)closedir(dir);
        return sum;
}

static long peak_kb(pid_t pid)
{
        _cleanup_free_ char *text = NULL;
        char path[64];
        const char *p;

        (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
        if (file_read(AT_FDCWD, path, 1 << 16, &text, NULL) < 0)
                fail("read %s", path);
        p = strstr(text, "\nVmHWM:");
        if (!p)
                fail("no VmHWM in %s", path);
        return strtol(p + strlen("\nVmHWM:"), NULL, 10);
}

void usage_take(struct usage *ret, pid_t shim, const pid_t *without, size_t n_without)
{
        static struct table table;

        *ret = (struct usage){0};
        read_table(&table);
        mark(&table, shim, without, n_without);
        for (size_t i = 0; i < table.n; i++) {
                pid_t pid = table.all[i].pid;

                if (!table.all[i].counts)
                        continue;
                ret->cpu_ns += cpu_ns(pid);
                if (pid == shim) {
                        ret->shim_peak_kb = peak_kb(pid);
                        continue;
                }
                ret->helpers_peak_kb += peak_kb(pid);
                ret->n_helpers++;
        }
}
