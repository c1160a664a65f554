/* SPDX-License-Identifier: Apache-2.0
 *
 * Which runtime a container has, for those who come without a loop: the files in its directory, and
 * the binary by its name. The files are the stock shim's, but that `runtime` holds the absolute
 * path: the `delete` action may have another $PATH.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/limits.h"
#include "pkg/base/str.h"
#include "pkg/runc/internal.h"

#define RUNTIME_FILE "runtime"
#define OPTIONS_FILE "options.json"
#define PATH_DEFAULT "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

enum { FEATURES_TIMEOUT_MS = 3000, CLEANUP_OUTPUT_MAX = 4096 };

CLEANUP_DEFINE(struct runc, runc_free)

static bool is_executable(const char *path)
{
        struct stat st;

        return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

static int not_found(const char *name, const char *where, struct error *err)
{
        (void)error_set(err, STATUS_UNKNOWN, "exec: \"%s\": %s", name, where);
        if (err)
                err->errnum = ENOENT;
        return -1;
}

int runc_find(const char *name, char **ret_path, struct error *err)
{
        const char *path = getenv("PATH");

        if (strchr(name, '/')) {
                if (name[0] != '/')
                        return error_set(err, STATUS_INVALID_ARGUMENT,
                                         "'%s' is neither a name nor an absolute path", name);
                if (!is_executable(name))
                        return not_found(name, "no such file or directory", err);
                *ret_path = strdup(name);
                return *ret_path ? 0 : error_errno(err, ENOMEM, "find '%s'", name);
        }
        if (!path || !*path)
                path = PATH_DEFAULT;
        for (size_t n; *path; path += n + (path[n] == ':')) {
                _cleanup_free_ char *candidate = NULL;

                n = strcspn(path, ":");
                if (path[0] != '/')
                        continue; /* the working directory is a bundle */
                candidate = str_printf("%.*s/%s", (int)n, path, name);
                if (candidate && is_executable(candidate)) {
                        *ret_path = TAKE_PTR(candidate);
                        return 0;
                }
        }
        return not_found(name, "executable file not found in $PATH", err);
}

/* Members that say nothing are left out, as Go does. */
static char *format_options(const struct runc *r)
{
        _cleanup_free_ char *binary = json_quote(r->binary);
        _cleanup_free_ char *root = json_quote(r->root_option);

        if (!binary || !root)
                return NULL;
        return str_printf("{%s%s\"binary_name\":%s%s%s%s}",
                          r->no_pivot_root ? "\"no_pivot_root\":true," : "",
                          r->no_new_keyring ? "\"no_new_keyring\":true," : "", binary,
                          *r->root_option ? ",\"root\":" : "", *r->root_option ? root : "",
                          r->systemd_cgroup ? ",\"systemd_cgroup\":true" : "");
}

int runc_write_files(const struct runc *r, struct error *err)
{
        _cleanup_close_ int fd = open(r->state_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        _cleanup_free_ char *options = format_options(r);
        int result;

        if (fd < 0)
                return error_errno(err, errno, "open '%s'", r->state_dir);
        if (!options)
                return error_errno(err, ENOMEM, "write '" OPTIONS_FILE "'");
        result = file_write_atomic(fd, OPTIONS_FILE, options, strlen(options), 0600);
        if (result < 0)
                return error_errno(err, -result, "write '" OPTIONS_FILE "'");
        result = file_write_atomic(fd, RUNTIME_FILE, r->binary, strlen(r->binary), 0600);
        if (result < 0)
                return error_errno(err, -result, "write '" RUNTIME_FILE "'");
        return 0;
}

void runc_remove_files(const struct runc *r)
{
        _cleanup_close_ int fd = open(r->state_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0)
                return;
        (void)unlinkat(fd, RUNTIME_FILE, 0);
        (void)unlinkat(fd, OPTIONS_FILE, 0);
        (void)unlinkat(fd, "log.json", 0);
}

static bool is_of_exec(const char *name, const char *ending)
{
        size_t len = strlen(name);

        return str_has_prefix(name, "exec-") && len > strlen(ending) &&
               str_equal(name + len - strlen(ending), ending);
}

/* Whom a runtime has named; of one that has ended since, or is known, nothing. */
static void kill_nameless(const struct runc *r, int dirfd, const char *pid_file)
{
        pid_t pid;

        if (read_pid_file(dirfd, pid_file, &pid, NULL) == 0 &&
            reaper_find(r->reaper, pid) == REAPER_PRESENT && !reaper_is_watched(r->reaper, pid))
                (void)kill(pid, SIGKILL);
}

void runc_undo_execs(const struct runc *r)
{
        _cleanup_closedir_ DIR *dir = opendir(r->state_dir);
        const struct dirent *entry;

        while (dir && (entry = readdir(dir))) {
                if (is_of_exec(entry->d_name, ".pid"))
                        kill_nameless(r, dirfd(dir), entry->d_name);
                else if (!is_of_exec(entry->d_name, ".spec"))
                        continue;
                (void)unlinkat(dirfd(dir), entry->d_name, 0);
        }
}

bool runc_has_files(int state_fd)
{
        return faccessat(state_fd, RUNTIME_FILE, F_OK, 0) == 0 || errno != ENOENT;
}

/* The member `root` of options.json, or "". */
static void read_root(int bundle_fd, char *ret, size_t ret_size)
{
        _cleanup_free_ char *text = NULL;
        size_t len = 0;

        if (file_read(bundle_fd, OPTIONS_FILE, LIMIT_RUNTIME_LOG_BYTES, &text, &len) < 0 ||
            !json_string(text, len, "root", ret, ret_size))
                ret[0] = '\0';
}

int runc_cleanup(const char *state_dir, const char *runtime_namespace, const char *id,
                 uint64_t deadline_ns, struct error *err)
{
        _cleanup_close_ int fd = open(state_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        _cleanup_(runc_free_p) struct runc *r = NULL;
        _cleanup_free_ char *name = NULL;
        _cleanup_free_ char *binary = NULL;
        _cleanup_free_ char *output = NULL;
        struct error why = ERROR_INIT;
        struct runc_options options = {
                .runtime_namespace = runtime_namespace,
                .bundle = state_dir,
                .state_dir = state_dir,
                .id = id,
        };
        char root[PATH_MAX];
        struct args args;

        if (fd < 0 || file_read(fd, RUNTIME_FILE, PATH_MAX, &name, NULL) < 0 || !*name)
                return 0;
        read_root(fd, root, sizeof(root));
        options.root = root;
        if (runc_find(name, &binary, err) < 0)
                return -1;
        options.binary = binary;
        if (runc_new(&r, &options, err) < 0)
                return -1;
        args_delete(&args, r, true);
        if (spawn_wait(&args, deadline_ns, CLEANUP_OUTPUT_MAX, &output, &why) == 0 ||
            strcasestr(why.msg, "does not exist"))
                return 1;
        if (err)
                *err = why;
        if (why.code == STATUS_DEADLINE_EXCEEDED)
                (void)error_prefix(err, "what it keeps of '%s' in '%s' stays", id, r->root);
        return -1;
}

int runc_features(const char *binary, char **ret_json, struct error *err)
{
        const struct args args = {.items = {binary, "features"}, .n = 2};

        return spawn_wait(&args, clock_monotonic_ns() + FEATURES_TIMEOUT_MS * NSEC_PER_MSEC,
                          LIMIT_PROC_BYTES, ret_json, err);
}
