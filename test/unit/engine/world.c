/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine in a test: see world.h.
 */
#include "test/unit/engine/world.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/str.h"

#include "test/unit/fds.h"
#include "test/unit/unit.h"

enum { TEST_LIMIT_S = 60, OUTPUT_MAX = 1 << 20, MOUNTINFO_MAX = 16 << 20 };

bool world_possible(void)
{
        return box_private_mounts() && access("/bin/busybox", X_OK) == 0;
}

static void on_warning(const char *text, void *userdata)
{
        struct world *w = userdata;

        (void)snprintf(w->warning, sizeof(w->warning), "%s", text);
}

void world_open(struct world *w)
{
        struct error err = ERROR_INIT;

        assert_int_equal(loop_new(&w->loop, &err), 0);
        assert_int_equal(reaper_new(&w->reaper, w->loop, &err), 0);
        assert_int_equal(engine_new(&w->engine, w->loop, w->reaper, &err), 0);
        engine_on_warning(w->engine, on_warning, w);
        w->n_fds = count_fds();
}

int world_set_up(void **state)
{
        static unsigned n;
        struct world *w = calloc(1, sizeof(*w));

        (void)alarm(TEST_LIMIT_S);
        assert_non_null(w);
        box_make(&w->box);
        (void)snprintf(w->cgroup, sizeof(w->cgroup), "/belay-test-%d-%u", (int)getpid(), n++);
        w->terminal = -1;
        w->null = open("/dev/null", O_RDWR | O_CLOEXEC);
        w->out = open("/tmp", O_TMPFILE | O_RDWR | O_APPEND | O_CLOEXEC, 0666);
        assert_true(w->null >= 0 && w->out >= 0);
        w->stdio[0] = w->null;
        w->stdio[1] = w->out;
        w->stdio[2] = w->out;
        world_open(w);
        *state = w;
        return 0;
}

static bool reap_all(void)
{
        pid_t pid;

        do {
                pid = waitpid(-1, NULL, __WALL | WNOHANG);
        } while (pid > 0);
        return pid < 0 && errno == ECHILD;
}

int world_tear_down(void **state)
{
        struct world *w = *state;

        world_free_exec(w);
        if (w->container)
                world_delete(w);
        w->engine = engine_free(w->engine);
        assert_int_equal(count_fds(), w->n_fds);
        assert_false(world_has_cgroup(w));
        assert_false(world_has_mount(w));
        assert_false(world_has_state(w));
        w->reaper = reaper_free(w->reaper);
        w->loop = loop_free(w->loop);
        while (!reap_all()) {
                siginfo_t info;

                /* A stage that has said its last word may still be about to exit. */
                assert_int_equal(waitid(P_ALL, 0, &info, WEXITED | WNOWAIT), 0);
        }
        fd_close(w->null);
        fd_close(w->out);
        box_remove(&w->box);
        free(w);
        (void)alarm(0);
        return 0;
}

/* ---- what the engine tells ---- */

static void set_result(struct world *w, struct world_result *r, const struct error *err)
{
        assert_false(r->has_come);
        r->has_come = true;
        r->order = ++w->order;
        r->err = err ? *err : ERROR_INIT;
        loop_quit(w->loop);
}

static void set_exit(struct world *w, struct world_exit *e, const struct reaper_exit *exit)
{
        assert_false(e->has_come);
        e->has_come = true;
        e->order = ++w->order;
        e->exit = *exit;
        loop_quit(w->loop);
}

static void on_init_exit(const struct reaper_exit *exit, void *userdata)
{
        struct world *w = userdata;

        set_exit(w, &w->init_exit, exit);
}

static void on_exec_exit(const struct reaper_exit *exit, void *userdata)
{
        struct world *w = userdata;

        set_exit(w, &w->exec_exit, exit);
}

void world_await_init(struct world *w)
{
        engine_process_on_exit(w->init, on_init_exit, w);
}

void world_await_exec(struct world *w)
{
        engine_process_on_exit(w->exec, on_exec_exit, w);
}

static void on_created(const struct error *err, struct engine_container *container,
                       struct engine_process *init, int terminal_fd, void *userdata)
{
        struct world *w = userdata;

        w->job = NULL;
        w->container = container;
        w->init = init;
        w->terminal = terminal_fd;
        assert_true((err != NULL) == (container == NULL));
        if (init)
                world_await_init(w);
        set_result(w, &w->created, err);
}

static void on_started(const struct error *err, void *userdata)
{
        struct world *w = userdata;

        set_result(w, &w->started, err);
}

static void on_execed(const struct error *err, struct engine_process *process, int terminal_fd,
                      void *userdata)
{
        struct world *w = userdata;

        w->exec = process;
        w->terminal = terminal_fd;
        assert_true((err != NULL) == (process == NULL));
        if (process)
                world_await_exec(w);
        set_result(w, &w->execed, err);
}

static void on_deleted(const struct error *err, void *userdata)
{
        struct world *w = userdata;

        set_result(w, &w->deleted, err);
}

/* ---- calls ---- */

void world_await(struct world *w, const bool *flag)
{
        struct error err = ERROR_INIT;

        while (!*flag)
                assert_int_equal(loop_run(w->loop, &err), 0);
}

static void write_config(struct world *w, const struct box_config *config)
{
        struct box_config c = config ? *config : (struct box_config){0};
        _cleanup_free_ char *linux_ =
                str_printf("%s,\"cgroupsPath\":\"%s\"", c.linux_ ? c.linux_ : "", w->cgroup);
        _cleanup_free_ char *json = NULL;
        int dir = open(w->box.dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

        c.linux_ = linux_;
        json = box_document(&c);
        assert_int_equal(file_write_atomic(dir, "config.json", json, strlen(json), 0644), 0);
        close(dir);
}

void world_begin_create(struct world *w, const struct box_config *config)
{
        struct engine_create args = {
                .id = "the-container",
                .bundle = w->box.dir,
                .runtime_namespace = "test",
                .mounts = w->mounts,
                .n_mounts = w->n_mounts,
                .terminal = config && config->terminal,
                .stdio = w->stdio,
                .systemd_cgroup = w->systemd_cgroup,
        };
        struct error err = ERROR_INIT;

        write_config(w, config);
        w->created = (struct world_result){0};
        w->init_exit = (struct world_exit){0};
        assert_int_equal(engine_create(w->engine, &args, on_created, w, &w->job, &err), 0);
        assert_false(w->created.has_come);
}

const char *world_try_create(struct world *w, const struct box_config *config)
{
        world_begin_create(w, config);
        world_await(w, &w->created.has_come);
        return w->created.err.msg;
}

void world_create(struct world *w, const struct box_config *config)
{
        assert_string_equal(world_try_create(w, config), "");
}

void world_begin_start(struct world *w)
{
        struct error err = ERROR_INIT;

        w->started = (struct world_result){0};
        if (engine_start(w->container, on_started, w, &w->job, &err) < 0)
                fail_msg("%s", err.msg);
}

const char *world_try_start(struct world *w)
{
        struct error err = ERROR_INIT;

        w->started = (struct world_result){0};
        if (engine_start(w->container, on_started, w, &w->job, &err) < 0) {
                w->started.err = err;
                return w->started.err.msg;
        }
        assert_false(w->started.has_come);
        world_await(w, &w->started.has_come);
        return w->started.err.msg;
}

void world_start(struct world *w)
{
        assert_string_equal(world_try_start(w), "");
}

void world_begin_exec(struct world *w, const struct engine_exec *args)
{
        struct error err = ERROR_INIT;

        w->execed = (struct world_result){0};
        w->exec_exit = (struct world_exit){0};
        if (engine_exec(w->container, args, on_execed, w, &w->job, &err) < 0)
                fail_msg("%s", err.msg);
}

const char *world_try_exec(struct world *w, const char *process_json, bool terminal)
{
        struct engine_exec args = {
                .exec_id = "e1",
                .process_json = process_json,
                .process_json_len = strlen(process_json),
                .terminal = terminal,
                .stdio = w->stdio,
        };
        struct error err = ERROR_INIT;

        w->execed = (struct world_result){0};
        w->exec_exit = (struct world_exit){0};
        if (engine_exec(w->container, &args, on_execed, w, &w->job, &err) < 0) {
                w->execed.err = err;
                return w->execed.err.msg;
        }
        assert_false(w->execed.has_come);
        world_await(w, &w->execed.has_come);
        return w->execed.err.msg;
}

void world_free_exec(struct world *w)
{
        w->exec = engine_process_free(w->exec);
        w->terminal = fd_close(w->terminal);
}

void world_delete(struct world *w)
{
        struct error err = ERROR_INIT;

        w->deleted = (struct world_result){0};
        assert_int_equal(engine_delete(w->container, on_deleted, w, &err), 0);
        assert_false(w->deleted.has_come);
        world_await(w, &w->deleted.has_come);
        assert_string_equal(w->deleted.err.msg, "");
        w->init = engine_process_free(w->init);
        w->container = engine_container_free(w->container);
        w->terminal = fd_close(w->terminal);
}

static void on_updated(const struct error *err, void *userdata)
{
        struct world *w = userdata;

        set_result(w, &w->updated, err);
}

void world_update(struct world *w, const char *json, struct error *err)
{
        w->updated = (struct world_result){0};
        if (engine_update(w->container, json, strlen(json), on_updated, w, NULL, err) < 0)
                return;
        world_await(w, &w->updated.has_come);
        *err = w->updated.err;
}

int world_exit_status(const struct world_exit *e)
{
        assert_true(e->has_come);
        return e->exit.code == CLD_EXITED ? e->exit.status : 128 + e->exit.status;
}

int world_run(struct world *w, const struct box_config *config)
{
        world_create(w, config);
        world_start(w);
        world_await(w, &w->init_exit.has_come);
        /* The end of the program is not held up by poststart hooks. */
        if (!config || !config->top || !strstr(config->top, "poststart"))
                assert_true(w->init_exit.order > w->started.order);
        return world_exit_status(&w->init_exit);
}

/* ---- what is there ---- */

char *world_output(struct world *w)
{
        char *text = NULL;

        assert_true(lseek(w->out, 0, SEEK_SET) == 0);
        assert_int_equal(fd_read_all(w->out, OUTPUT_MAX, &text, NULL), 0);
        return text;
}

char *world_file(struct world *w, const char *name)
{
        int dir = open(w->box.dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        char *text = NULL;

        assert_int_equal(file_read(dir, name, OUTPUT_MAX, &text, NULL), 0);
        close(dir);
        return text;
}

static void on_fifo(struct loop_io *io, int fd, int what, void *userdata)
{
        struct world *w = userdata;

        (void)what;
        (void)loop_io_free(io);
        close(fd);
        w->hook_runs = true;
        loop_quit(w->loop);
}

void world_make_hook_fifo(struct world *w)
{
        _cleanup_free_ char *path = str_printf("%s/hook", w->box.dir);
        struct loop_io *io;
        int fd;

        assert_int_equal(mkfifo(path, 0600), 0);
        fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
        assert_true(fd >= 0);
        io = loop_io_new(w->loop, fd, LOOP_PRIORITY_RPC, on_fifo, w);
        assert_non_null(io);
        assert_int_equal(loop_io_want(io, LOOP_READ), 0);
}

bool world_has_cgroup(const struct world *w)
{
        DIR *dir = opendir("/sys/fs/cgroup");
        struct dirent *entry;
        bool found = false;

        assert_non_null(dir);
        while ((entry = readdir(dir)) && !found) {
                _cleanup_free_ char *path = str_printf("/sys/fs/cgroup/%s%s", entry->d_name,
                                                       w->systemd_cgroup ? w->scope : w->cgroup);

                found = access(path, F_OK) == 0;
        }
        (void)closedir(dir);
        return found;
}

bool world_has_mount(const struct world *w)
{
        _cleanup_free_ char *text = NULL;

        assert_int_equal(file_read(AT_FDCWD, "/proc/self/mountinfo", MOUNTINFO_MAX, &text, NULL),
                         0);
        return strstr(text, w->box.dir) != NULL;
}

bool world_has_state(const struct world *w)
{
        _cleanup_free_ char *path = str_printf("%s/engine.state", w->box.dir);

        return access(path, F_OK) == 0;
}
