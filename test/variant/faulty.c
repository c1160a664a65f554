/* SPDX-License-Identifier: Apache-2.0
 *
 * The shim, failing where a test wants it to. The file test-fault in the bundle says how and where:
 *
 *   fail N, crash N   on trial, the N-th allocation gives nothing, or is a fault
 *   silent            check-state ends with success and says nothing
 *   abort             check-state does not end well
 *   refuse, hang      on trial, after all of the state was restored; a trial's time is a tenth then
 *
 * When a trial has gone well, or hangs, the number of its allocations is in test-fault-count. What
 * was left of the time of an earlier trial when it began, or of its own when it has gone well, is
 * in test-fault-alarm.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/containerd-shim-belay-v2/reexec.h"
#include "shim/server.h"

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
char *__real_strdup(const char *s);
void __real_reexec_passed(struct reexec *r);
int __real_shim_server_restore(struct shim_server *server, struct error *err);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
char *__wrap_strdup(const char *s);
void __wrap_reexec_passed(struct reexec *r);
unsigned __real_alarm(unsigned seconds);
unsigned __wrap_alarm(unsigned seconds);
int __wrap_shim_server_restore(struct shim_server *server, struct error *err);

static struct {
        bool on_trial;
        char how[16];
        unsigned where; /* counted from 1 */
        unsigned n;     /* allocations so far */
} fault;

static size_t read_file(const char *path, char *buf, size_t size)
{
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? 0 : read(fd, buf, size - 1);

        if (fd >= 0)
                (void)close(fd);
        n = n > 0 ? n : 0;
        buf[n] = '\0';
        return (size_t)n;
}

static void __attribute__((constructor)) begin(void)
{
        char words[4096];
        char text[64];
        size_t n = read_file("/proc/self/cmdline", words, sizeof(words));
        bool checks = false;
        char *number;

        for (char *word = words; word < words + n; word += strlen(word) + 1) {
                fault.on_trial |= strncmp(word, "-fallback=", strlen("-fallback=")) == 0;
                checks |= strcmp(word, CHECK_STATE_ACTION) == 0;
        }
        if (read_file("test-fault", text, sizeof(text)) == 0)
                return;
        number = strchr(text, ' ');
        if (number) {
                *number++ = '\0';
                fault.where = (unsigned)strtoul(number, NULL, 10);
        }
        (void)snprintf(fault.how, sizeof(fault.how), "%.15s", text);
        if (checks && strcmp(fault.how, "silent") == 0)
                _exit(0);
        if (checks && strcmp(fault.how, "abort") == 0)
                abort();
}

/* One more allocation; true: it fails. */
static bool fails(void)
{
        if (!fault.on_trial || ++fault.n != fault.where)
                return false;
        if (strcmp(fault.how, "crash") == 0)
                (void)raise(SIGSEGV); /* counts as a fault of our own */
        return strcmp(fault.how, "fail") == 0;
}

void *__wrap_malloc(size_t n)
{
        return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
        return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
        return fails() ? NULL : __real_realloc(p, n);
}

char *__wrap_strdup(const char *s)
{
        return fails() ? NULL : __real_strdup(s);
}

static void tell(const char *path, unsigned number)
{
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        (void)dprintf(fd, "%u", number);
        (void)close(fd);
}

static void tell_count(void)
{
        tell("test-fault-count", fault.n);
}

unsigned __wrap_alarm(unsigned seconds)
{
        unsigned left = __real_alarm(strcmp(fault.how, "hang") == 0 ? seconds / 10 : seconds);

        if (fault.on_trial && seconds > 0)
                tell("test-fault-alarm", left);
        return left;
}

int __wrap_shim_server_restore(struct shim_server *server, struct error *err)
{
        if (__real_shim_server_restore(server, err) < 0)
                return -1;
        if (fault.on_trial && strcmp(fault.how, "hang") == 0) {
                tell_count();
                for (;;)
                        (void)pause();
        }
        if (fault.on_trial && strcmp(fault.how, "refuse") == 0)
                return error_set(err, STATUS_UNIMPLEMENTED, "this version does not like the state");
        return 0;
}

void __wrap_reexec_passed(struct reexec *r)
{
        tell("test-fault-alarm", __real_alarm(0));
        if (fault.on_trial)
                tell_count();
        fault.on_trial = false;
        __real_reexec_passed(r);
}
