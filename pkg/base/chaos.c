/* SPDX-License-Identifier: Apache-2.0
 *
 * See chaos.h. A point may be anywhere, in a signal handler and behind a clone3(2), too: so it is
 * some loads and stores, and the file is mapped before main().
 */
#include "pkg/base/chaos.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static struct chaos_plan *the_plan;

struct chaos_plan *chaos_plan_open(void)
{
        const char *path = getenv(CHAOS_VARIABLE);
        struct chaos_plan *plan = NULL;
        struct stat st;
        int fd;

        if (!path)
                return NULL;
        fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0)
                return NULL;
        if (fstat(fd, &st) == 0 && st.st_size == (off_t)sizeof(*plan))
                plan = mmap(NULL, sizeof(*plan), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        (void)close(fd);
        return plan == MAP_FAILED ? NULL : plan;
}

__attribute__((constructor)) static void open_plan(void)
{
        the_plan = chaos_plan_open();
}

static void set_name(char *to, const char *name)
{
        size_t n = strnlen(name, CHAOS_NAME_MAX - 1);

        memcpy(to, name, n);
        memset(to + n, 0, CHAOS_NAME_MAX - n);
}

static bool counts(const struct chaos_trigger *t, const char *name)
{
        pid_t pid = getpid();

        if ((t->only && t->only != pid) || (t->but && t->but == pid))
                return false;
        return !*t->name || strncmp(t->name, name, CHAOS_NAME_MAX) == 0;
}

bool chaos_trigger_pass(struct chaos_trigger *t, const char *name)
{
        uint64_t before = t->n;
        uint64_t at;
        uint32_t n;

        do {
                if (!counts(t, name))
                        return false;
                at = t->at;
        } while (!atomic_compare_exchange_strong(&t->n, &before, before + 1));
        n = (uint32_t)(before + 1);
        if (n <= CHAOS_LOG_MAX)
                set_name(t->log[n - 1], name);
        if (at != before + 1)
                return false;
        if (t->n_fired + 1 < t->times)
                t->at = at + t->every;
        t->n_fired++;
        set_name(t->fired, name);
        return true;
}

/* A fault of the processor's is not the same as a signal that is sent: crash.c. */
static void die(int signo)
{
        static volatile int *volatile nowhere;

        if (signo == SIGSEGV)
                *nowhere = 0; /* NOLINT(clang-analyzer-core.NullDereference): it is meant to */
        (void)raise(signo);
}

static void stand_still(int ms)
{
        struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

        (void)nanosleep(&ts, NULL);
}

void chaos_point(const char *name)
{
        if (!the_plan)
                return;
        if (chaos_trigger_pass(&the_plan->delays, name))
                stand_still(the_plan->delays.value);
        if (chaos_trigger_pass(&the_plan->points, name) && the_plan->points.value != 0)
                die(the_plan->points.value);
}
