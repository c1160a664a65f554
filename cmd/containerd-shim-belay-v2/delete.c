/* SPDX-License-Identifier: Apache-2.0
 *
 * The delete action. containerd runs it when the connection to a shim has dropped, and again behind
 * every ordinary removal, while the shim may still be on its way out: it must be idempotent and
 * quick. So each of its parts has a deadline, and what cannot be done until then is told on stderr,
 * which containerd logs. Its answer is how the container ended: from the record on disk if the shim
 * has lived to write one, else from the kernel if that can still tell; otherwise 137, and the
 * record says that this is not known.
 */
#include <containerd/task/v2/task.pb-c.h>
#include <errno.h>
#include <fcntl.h>
#include <google/protobuf/timestamp.pb-c.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/fd.h"
#include "pkg/base/str.h"
#include "pkg/engine/engine.h"
#include "pkg/reaper/reaper.h"

#include "cmd/containerd-shim-belay-v2/actions.h"
#include "cmd/containerd-shim-belay-v2/apart.h"
#include "cmd/containerd-shim-belay-v2/self.h"
#include "cmd/containerd-shim-belay-v2/signals.h"
#include "cmd/containerd-shim-belay-v2/socket.h"
#include "shim/clean_up.h"
#include "shim/record.h"
#include "shim/runc_facts.h"

enum { STATUS_KILLED = 128 + SIGKILL };

/*
 * From its beginning, in ms: containerd ends it after five seconds, and would not hear the status.
 * A runtime binary has a time of its own, since one that is killed in the middle leaves its state,
 * by which alone it can be asked again, and which the next Create of that id fails on.
 */
enum {
        DELETE_MS = 4500, /* all of it; what is not done by then stays */
        RUNTIME_MS = 3000,
        CLEANUP_MS = 1900,      /* all but poststop hooks; with what is around it two seconds */
        CLEANUP_LEAST_MS = 500, /* of it, also when a runtime has taken longer */
        HOOKS_MS = 3500,        /* these as well */
        STUCK_MS = 3900,        /* what should be over by then is ended; the socket is next */
};
_Static_assert(RUNTIME_MS + CLEANUP_LEAST_MS <= HOOKS_MS && HOOKS_MS < DELETE_MS,
               "each part has its time, whatever the others take");

/* The contents of `address`: a scheme and a path. */
enum { ADDRESS_BYTES_MAX = 256 };

/* -bundle, or the sibling of the working directory that is named like the container. *ret stays
 * NULL when it has been removed. */
static int find_bundle(const struct options *options, char **ret, struct error *err)
{
        _cleanup_free_ char *cwd = NULL;

        if (*options->bundle) {
                *ret = realpath(options->bundle, NULL);
                return *ret || errno == ENOENT
                               ? 0
                               : error_errno(err, errno, "bundle '%s'", options->bundle);
        }
        cwd = getcwd(NULL, 0);
        if (!cwd)
                return error_errno(err, errno, "find the working directory");
        *ret = path_join_clean((const char *const[]){cwd, "..", options->id}, 3);
        return *ret ? 0 : error_errno(err, ENOMEM, "name the bundle");
}

/*
 * The socket of a shim that was killed; 1 if the shim lives. The name is trusted only as far as it
 * is the one that this container's shim has: whoever can write the bundle must not get other files
 * removed.
 */
static int remove_socket(int bundle_fd, const struct options *options, uint64_t deadline_ns,
                         struct error *err)
{
        _cleanup_free_ char *address = NULL;
        _cleanup_free_ char *expected = NULL;
        const char *path;

        if (file_read(bundle_fd, "address", ADDRESS_BYTES_MAX, &address, NULL) < 0 ||
            !str_has_prefix(address, "unix:///"))
                return 0;
        path = address + strlen("unix://");
        if (socket_path(NULL, options->address, options->runtime_namespace, options->id, &expected,
                        NULL) < 0 ||
            !str_equal(path_basename(path), path_basename(expected)))
                return 0;
        return socket_remove_stale(path, deadline_ns, err);
}

static int print_response(pid_t pid, uint32_t status, struct timespec at, struct error *err)
{
        Containerd__Task__V2__DeleteResponse response = CONTAINERD__TASK__V2__DELETE_RESPONSE__INIT;
        Google__Protobuf__Timestamp exited_at = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
        _cleanup_free_ uint8_t *data = NULL;
        size_t len;
        int r;

        exited_at.seconds = at.tv_sec;
        exited_at.nanos = (int32_t)at.tv_nsec;
        response.pid = (uint32_t)pid;
        response.exit_status = status;
        response.exited_at = &exited_at;
        len = containerd__task__v2__delete_response__get_packed_size(&response);
        data = malloc(len);
        if (!data)
                return error_errno(err, ENOMEM, "answer the caller");
        containerd__task__v2__delete_response__pack(&response, data);
        r = fd_write_all(STDOUT_FILENO, data, len);
        return r < 0 ? error_errno(err, -r, "write to standard output") : 0;
}

/* A clean-up that fails in part is a warning: containerd must still learn how it ended. */
static void warn(const struct error *err)
{
        dprintf(STDERR_FILENO, "clean up: %s\n", err->msg);
}

/*
 * The pidfd of the init that the record names, as long as that has not been reaped; else -1. The
 * start time is looked at when the pidfd is open, so the pid cannot be reused in between.
 */
static int open_init(const struct shim_record *record)
{
        _cleanup_close_ int pidfd = -1;

        if (record->exited || record->pid <= 0)
                return -1;
        pidfd = pidfd_open(record->pid, 0);
        if (pidfd < 0 || process_start_ticks(record->pid) != record->start_ticks)
                return -1;
        return TAKE_FD(pidfd);
}

static bool has_ended(int pidfd)
{
        struct pollfd p = {.fd = pidfd, .events = POLLIN};

        return poll(&p, 1, 0) > 0;
}

/*
 * SIGKILL for init, which then is let out of the freezer: v1's holds the signal back, and a
 * runtime's forced delete would wait for the end in vain.
 */
static void kill_paused(pid_t pid, int pidfd)
{
        struct runc_facts facts = {0};

        if (pidfd < 0 || has_ended(pidfd))
                return;
        runc_facts_read(&facts, pid);
        (void)pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
        runc_facts_thaw(&facts);
        runc_facts_deinit(&facts);
}

/* How init has ended, of which the shim has left no word: by what the kernel says. */
static void fill_exit(struct shim_record *record, int pidfd)
{
        struct reaper_exit exit = {.pid = record->pid};

        record->exited = true;
        record->exited_at = clock_realtime();
        if (pidfd < 0 || !reaper_read_exit(record->pid, pidfd, &exit)) {
                record->exit_status = STATUS_KILLED;
                record->signal = SIGKILL;
                record->reason = RECORD_UNKNOWN;
        } else if (exit.code == CLD_EXITED) {
                record->exit_status = (uint32_t)exit.status;
                record->reason = RECORD_EXITED;
        } else {
                record->exit_status = (uint32_t)(128 + exit.status);
                record->signal = exit.status;
                record->core_dumped = exit.code == CLD_DUMPED;
                record->reason = RECORD_SIGNAL;
        }
}

/* False when there is none: the shim died before it had made a process. */
static bool read_record(int bundle_fd, struct shim_record *record)
{
        struct error err = ERROR_INIT;

        if (shim_record_read(bundle_fd, NULL, record, &err) == 0)
                return true;
        if (err.code == STATUS_DATA_LOSS)
                warn(&err);
        return false;
}

/*
 * The end that nobody has recorded, of a process that is gone, is recorded here, for whoever asks
 * next. But the record is the shim's as long as that lives: it knows more, and may have written it
 * by now.
 */
static void settle_record(int bundle_fd, bool shim_lives, struct shim_record *record)
{
        struct shim_record theirs = {0};
        struct error err = ERROR_INIT;

        if (shim_lives && shim_record_read(bundle_fd, NULL, &theirs, NULL) == 0 && theirs.exited)
                *record = theirs;
        if (!shim_lives && shim_record_write(bundle_fd, record, &err) < 0)
                warn(&err);
}

static void on_warning(const struct error *err, void *userdata)
{
        (void)userdata;
        warn(err);
}

/* Until when the engine's part may take; a runtime binary's is over. */
static uint64_t cleanup_deadline(uint64_t begin_ns)
{
        uint64_t usual = begin_ns + CLEANUP_MS * NSEC_PER_MSEC;
        uint64_t least = clock_monotonic_ns() + CLEANUP_LEAST_MS * NSEC_PER_MSEC;

        return usual > least ? usual : least;
}

struct cleaning {
        const char *bundle;
        const struct options *options;
        uint64_t begin_ns;
};

/* Whatever has made the container; 0 or its pid. */
static int clean_up(void *userdata)
{
        const struct cleaning *c = userdata;
        struct engine_cleanup_limits limits = {
                .hooks_deadline_ns = c->begin_ns + HOOKS_MS * NSEC_PER_MSEC,
                .on_warning = on_warning,
        };
        struct error warning = ERROR_INIT;
        bool killed = false;
        pid_t pid = 0;

        if (shim_clean_up_runtime(c->bundle, c->options->runtime_namespace, c->options->id,
                                  c->begin_ns + RUNTIME_MS * NSEC_PER_MSEC, &warning) < 0)
                warn(&warning);
        limits.deadline_ns = cleanup_deadline(c->begin_ns);
        if (engine_cleanup(c->bundle, c->options->id, &limits, &pid, &killed, &warning) < 0)
                warn(&warning);
        return pid;
}

/* Each part has a deadline of its own; but a container may have 100,000 cgroups, say. Behind an
 * ordinary Delete there is nothing of the kind any more. */
static pid_t clean_up_in_time(const char *bundle, int bundle_fd, const struct options *options,
                              uint64_t begin_ns)
{
        struct cleaning c = {.bundle = bundle, .options = options, .begin_ns = begin_ns};
        struct error warning = ERROR_INIT;
        int pid = 0;

        if (!shim_clean_up_is_due(bundle_fd))
                return clean_up(&c);
        if (apart_run(clean_up, &c, begin_ns + STUCK_MS * NSEC_PER_MSEC, &pid, &warning) < 0) {
                (void)error_prefix(&warning, "cgroups, mounts and state may stay");
                warn(&warning);
        }
        return pid;
}

int action_delete(const struct options *options, struct error *err)
{
        uint64_t begin_ns = clock_monotonic_ns();
        _cleanup_free_ char *bundle = NULL;
        _cleanup_close_ int bundle_fd = -1;
        _cleanup_close_ int pidfd = -1;
        struct shim_record record = {0};
        struct error warning = ERROR_INIT;
        bool is_news;
        bool known;
        pid_t pid;
        int r;

        signal_ignore(SIGTERM);
        signal_ignore(SIGINT);
        signal_ignore(SIGPIPE);
        if (find_bundle(options, &bundle, err) < 0)
                return -1;
        if (bundle)
                bundle_fd = open(bundle, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (!bundle || (bundle_fd < 0 && errno == ENOENT))
                return print_response(0, STATUS_KILLED, clock_realtime(), err);
        if (bundle_fd < 0)
                return error_errno(err, errno, "open bundle '%s'", bundle);
        if (shim_record_read(bundle_fd, NULL, &record, NULL) == 0)
                pidfd = open_init(&record);
        kill_paused(record.pid, pidfd);
        pid = clean_up_in_time(bundle, bundle_fd, options, begin_ns);
        known = read_record(bundle_fd, &record); /* again: the shim may have lived so long */
        if (known && pid == 0)
                pid = record.pid;
        is_news = known && !record.exited && (pidfd < 0 || has_ended(pidfd));
        if (is_news)
                fill_exit(&record, pidfd);
        r = remove_socket(bundle_fd, options, begin_ns + DELETE_MS * NSEC_PER_MSEC, &warning);
        if (r < 0)
                warn(&warning);
        if (is_news)
                settle_record(bundle_fd, r > 0, &record);
        if (known && record.exited)
                return print_response(pid, record.exit_status, record.exited_at, err);
        return print_response(pid, STATUS_KILLED, clock_realtime(), err);
}
