/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of pkg/runc share. A runc_job is one run of the binary, called a command here; it
 * is embedded in what waits for it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "pkg/base/error.h"
#include "pkg/base/limits.h"
#include "pkg/loop/loop.h"
#include "pkg/reaper/reaper.h"
#include "pkg/runc/runc.h"

struct runc {
        struct loop *loop;
        struct reaper *reaper;
        char *binary;
        char *root_option; /* as the caller gave it, for options.json */
        char *root;        /* with the namespace: the value of --root */
        char *bundle;
        char *state_dir;
        char *id;
        char *log;
        bool systemd_cgroup;
        bool no_pivot_root;
        bool no_new_keyring;
};

/* ---- json.c: all the JSON that is read here. Pure. ---- */

/* The string `key` of the object that text is; false if there is none, or text is no object. What
 * does not fit is cut. */
bool json_string(const char *text, size_t len, const char *key, char *ret, size_t ret_size);

/* The message of the last line that has the level "error". */
bool log_last_error(const char *text, size_t len, char *ret, size_t ret_size);

/* The object with its member `key` set to a boolean, on the heap, *len updated. A text that is no
 * object is copied as it is: it is for another one to refuse. NULL without memory. */
char *json_set_bool(const char *text, size_t *len, const char *key, bool value);

/* s in quotes, on the heap. */
char *json_quote(const char *s);

/* ---- args.c: command lines. Pure. ---- */

enum { ARGS_MAX = 24 + 2 * LIMIT_EXEC_CGROUPS };

/* Strings are borrowed. Room is checked by an assertion: the lines are ours. */
struct args {
        const char *items[ARGS_MAX + 1];
        size_t n;
};

void args_create(struct args *args, const struct runc *r, const char *pid_file,
                 const char *console);

struct args_of_exec {
        const char *spec;
        const char *pid_file;
        const char *console;
        char *cgroups; /* one a line; cut into lines in place */
        bool ignore_paused;
};
void args_exec(struct args *args, const struct runc *r, const struct args_of_exec *exec);
void args_kill_all(struct args *args, const struct runc *r, const char *signo);
void args_delete(struct args *args, const struct runc *r, bool force);
void args_start(struct args *args, const struct runc *r);
void args_pause(struct args *args, const struct runc *r);
void args_resume(struct args *args, const struct runc *r);
void args_update(struct args *args, const struct runc *r);

/* ---- spawn.c ---- */

/*
 * Runs args->items[0] as a child that dies with this process, with stdio as its 0, 1 and 2 and no
 * other descriptor. *ret_status is readable when the child has ended before or by its execve: it
 * holds an errno then; EOF says that it was executed.
 */
pid_t spawn(const struct args *args, const int stdio[3], int *ret_status, struct error *err);

/* The errno from ret_status after the child's end; 0: it was executed. */
int spawn_errno(int status_fd);

/* Runs it to its end, its stdout and stderr in *ret_output (at most max bytes of it). One that has
 * not ended at deadline_ns (CLOCK_MONOTONIC) is killed. */
int spawn_wait(const struct args *args, uint64_t deadline_ns, size_t max, char **ret_output,
               struct error *err);

/* "exit status 1", "signal 9". */
void spawn_describe(int code, int status, char *ret, size_t ret_size);

/* ---- command.c ---- */

enum { COMMAND_OUTPUT_MAX = 4096 };

struct runc_job {
        struct runc *runc;
        pid_t pid;
        int pidfd; /* -1 is no harm: by it alone another image of the process knows of the child */
        struct reaper_watch *watch;
        int status_fd;
        int output_fd; /* -1: its output is the container's */
        struct loop_io *io;
        off_t log_offset;
        bool is_aborted;
        void (*on_abort)(struct runc_job *cmd); /* of one that is no longer running; may be NULL */
        char output[COMMAND_OUTPUT_MAX + 1];
        size_t output_len;
        void (*done)(struct runc_job *cmd, const struct error *err); /* NULL: success */
};

/* stdio: the child's, borrowed. NULL, or -1 for its output: /dev/null, and the output is kept for
 * error texts. done runs once, from the loop, and may free cmd. */
int command_start(struct runc_job *cmd, struct runc *r, const struct args *args, const int *stdio,
                  void (*done)(struct runc_job *cmd, const struct error *err), struct error *err);

/* ---- console.c: a socket to which the runtime sends a terminal's master ---- */

struct console;

/* on_ready runs when the terminal has come, or cannot come any more. */
int console_new(struct console **ret, struct loop *loop, void (*on_ready)(void *userdata),
                void *userdata, struct error *err);
struct console *console_free(struct console *console);
const char *console_path(const struct console *console);

/* The master, the caller's from then on; -1 with errnum EAGAIN when it has not come yet. */
int console_take(struct console *console, struct error *err);

/* ---- launch.c ---- */

/* What a runtime has written; -1 with err. */
int read_pid_file(int dirfd, const char *path, pid_t *ret, struct error *err);

/* ---- process.c ---- */

/* pid must be a child, or an exit that the reaper keeps. */
int runc_process_new(struct runc_process **ret, struct runc *r, pid_t pid, struct error *err);
