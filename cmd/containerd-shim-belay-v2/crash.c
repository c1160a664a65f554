/* SPDX-License-Identifier: Apache-2.0
 *
 * See crash.h. The handler runs on a stack of its own, in a process of which nothing is known but
 * that its vault is whole. It leaves a core file, by a fork that dies of the signal, and a line
 * with the addresses from which the fault was reached; both may fail, and a fault in there goes
 * straight on to the execve. The new process, whose heap is sound, writes the line into the log.
 */
#include "cmd/containerd-shim-belay-v2/crash.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pkg/base/clock.h"
#include "pkg/base/fd.h"
#include "pkg/base/sys.h"

#include "cmd/containerd-shim-belay-v2/frames.h"
#include "cmd/containerd-shim-belay-v2/signals.h"

enum { STACK_BYTES = 32 << 10, FRAMES_MAX = 14 };

/* A signal handler has no other way to its arguments. */
static struct {
        struct reexec *reexec;
        struct vault *const *vault; /* what it points to is NULL until there is one */
        struct loop_io *io;
        void *stack;
        pid_t pid;
        int event_fd;
        volatile sig_atomic_t depth;
        volatile sig_atomic_t early; /* it was sent before there was a loop to take it */
} armed = {.event_fd = -1};

/* Made by the linker: where this executable is mapped. */
extern const char __ehdr_start[] __attribute__((visibility("hidden")));

static void give_up(int signo)
{
        struct sigaction sa = {.sa_handler = SIG_DFL};
        sigset_t set;

        (void)sigaction(signo, &sa, NULL);
        (void)sigemptyset(&set);
        (void)sigaddset(&set, signo);
        (void)sigprocmask(SIG_UNBLOCK, &set, NULL);
        (void)kill(getpid(), signo);
}

/* ---- The text ---- */

struct text {
        char buf[VAULT_REASON_MAX];
        size_t len;
};

static void add(struct text *t, const char *s)
{
        while (*s && t->len + 1 < sizeof(t->buf))
                t->buf[t->len++] = *s++;
        t->buf[t->len] = '\0';
}

static void add_hex(struct text *t, uintptr_t value)
{
        char digits[2 * sizeof(value) + 1];
        size_t n = sizeof(digits);

        digits[--n] = '\0';
        do {
                digits[--n] = "0123456789abcdef"[value & 15];
                value >>= 4;
        } while (value > 0);
        add(t, digits + n);
}

static const char *name_of(int signo)
{
        for (size_t i = 0; i < N_FATAL_SIGNALS; i++) {
                if (fatal_signals[i].signo == signo)
                        return fatal_signals[i].name;
        }
        return "a signal";
}

/* Offsets into the executable, as addr2line(1) takes them. */
static void add_frames(struct text *t, const void *context)
{
        uintptr_t frames[FRAMES_MAX];
        size_t n = frames_find(context, frames, FRAMES_MAX);

        if (n > 0)
                add(t, ", from");
        for (size_t i = 0; i < n; i++) {
                add(t, " +");
                add_hex(t, frames[i] - (uintptr_t)__ehdr_start);
        }
}

static void set_reason(const struct text *t)
{
        if (*armed.vault)
                vault_set_reason(*armed.vault, t->buf);
}

/* By a sibling, as our parent's child: it takes its time, and the next image looks for children
 * that are left over. It holds nothing of ours: whoever waits for a hangup waits for no dump. */
static void leave_core(int signo)
{
        struct clone_args args = {.flags = CLONE_PARENT};

        if (sys_clone3(&args) == 0) {
                (void)close_range(0, ~0u, 0);
                give_up(signo);
                _exit(signo);
        }
}

/* ---- The handler ---- */

/* Sent by kill(2) or the like, and by another process or by nobody's fault. */
static bool is_sent(const siginfo_t *info)
{
        if (info->si_code == SI_TKILL)
                return info->si_pid != armed.pid;
        return info->si_code <= 0;
}

/* What a trial brings back was no reason to give up before. */
static bool may_execute(void)
{
        return reexec_is_on_trial(armed.reexec) ||
               (*armed.vault && vault_count_reexec(*armed.vault, clock_monotonic_ns()));
}

static void execute(int signo)
{
        if (may_execute())
                (void)reexec_again(armed.reexec);
        give_up(signo);
}

/* The loop hears of it. */
static void wake(int signo)
{
        const uint64_t value = (uint64_t)signo;

        (void)!write(armed.event_fd, &value, sizeof(value));
}

/* Nothing is wrong with this image: it goes on to the end of its round, or of its beginning. */
static void take_note(int signo)
{
        struct text text = {.len = 0};

        if (armed.event_fd < 0) {
                armed.early = signo;
                return;
        }
        add(&text, name_of(signo));
        add(&text, " was sent to the shim");
        set_reason(&text);
        wake(signo);
}

static void on_fatal(int signo, siginfo_t *info, void *context)
{
        struct text text = {.len = 0};
        int saved = errno;

        if (getpid() != armed.pid) {
                give_up(signo);
                return;
        }
        if (armed.depth == 0 && is_sent(info)) {
                take_note(signo);
                errno = saved;
                return;
        }
        switch (armed.depth++) {
        case 0:
                add(&text, "the shim crashed: ");
                add(&text, name_of(signo));
                add(&text, " at address 0x");
                add_hex(&text, (uintptr_t)info->si_addr);
                set_reason(&text);
                add_frames(&text, context);
                set_reason(&text);
                leave_core(signo);
                break;
        case 1:
                break;
        default:
                give_up(signo);
        }
        execute(signo);
}

/* The trial hangs: see crash_watch_trial(). */
static void on_alarm(int signo)
{
        struct text text = {.len = 0};

        if (getpid() != armed.pid)
                return;
        add(&text, "the binary has not taken over in time");
        set_reason(&text);
        execute(signo);
}

static void on_sent(struct loop_io *io, int fd, int what, void *userdata)
{
        uint64_t signo = SIGABRT;

        (void)io;
        (void)what;
        (void)userdata;
        (void)!read(fd, &signo, sizeof(signo));
        execute((int)signo);
}

/* ---- Arming ---- */

static int set_handlers(struct error *err)
{
        struct sigaction sa = {
                .sa_sigaction = on_fatal,
                .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER,
        };
        for (size_t i = 0; i < N_FATAL_SIGNALS; i++) {
                if (sigaction(fatal_signals[i].signo, &sa, NULL) < 0)
                        return error_errno(err, errno, "handle %s", fatal_signals[i].name);
        }
        /* The execve may have come from a handler. */
        signals_mask_fatal(SIG_UNBLOCK, NULL);
        return 0;
}

int crash_arm(struct reexec *reexec, struct vault *const *vault, struct error *err)
{
        stack_t stack = {.ss_size = STACK_BYTES};

        armed.reexec = reexec;
        armed.vault = vault;
        armed.pid = getpid();
        armed.stack =
                mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (armed.stack == MAP_FAILED)
                return error_errno(err, errno, "make a stack for crashes");
        stack.ss_sp = armed.stack;
        if (sigaltstack(&stack, NULL) < 0)
                return error_errno(err, errno, "set a stack for crashes");
        return set_handlers(err);
}

int crash_watch_trial(unsigned seconds, struct error *err)
{
        struct sigaction sa = {.sa_handler = seconds > 0 ? on_alarm : SIG_IGN};

        if (sigaction(SIGALRM, &sa, NULL) < 0)
                return error_errno(err, errno, "handle SIGALRM");
        (void)alarm(seconds);
        return 0;
}

int crash_watch(struct loop *loop, struct error *err)
{
        armed.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (armed.event_fd < 0)
                return error_errno(err, errno, "make an eventfd");
        armed.io = loop_io_new(loop, armed.event_fd, LOOP_PRIORITY_RELAY, on_sent, NULL);
        if (!armed.io || loop_io_want(armed.io, LOOP_READ) < 0)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "watch for crashes: no memory");
        if (armed.early)
                wake(armed.early);
        return 0;
}

void crash_disarm(void)
{
        struct sigaction sa = {.sa_handler = SIG_DFL};

        for (size_t i = 0; i < N_FATAL_SIGNALS; i++)
                (void)sigaction(fatal_signals[i].signo, &sa, NULL);
        armed.io = loop_io_free(armed.io);
        armed.event_fd = fd_close(armed.event_fd);
}
