/* SPDX-License-Identifier: Apache-2.0
 *
 * belay takes containerd's place here: the same flags, the same standard input (BootstrapParams, so
 * that the socket lies below belay's own root), the same working directory.
 */
#include "cmd/belay/program.h"

#include <containerd/runtime/bootstrap/v1/bootstrap.pb-c.h>
#include <containerd/types/introspection.pb-c.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"
#include "pkg/base/str.h"

#include "cmd/belay/store.h"

#define SHIM_NAME "containerd-shim-belay-v2"

typedef Containerd__Runtime__Bootstrap__V1__BootstrapParams Params;
typedef Containerd__Runtime__Bootstrap__V1__BootstrapResult Result;

enum { OUTPUT_BYTES_MAX = 64 * 1024 };

/* A socket's name is a hash of 64 characters and a slash, and must fit in 106. */
enum { SOCKET_DIR_MAX = 106 - 65 };

/* --shim, or the one beside us, or (by execvp) the one in PATH. */
static char *shim_path(const struct args *args)
{
        char self[PATH_MAX];
        _cleanup_free_ char *path = NULL;
        ssize_t n;

        if (args->shim)
                return strdup(args->shim);
        n = readlink("/proc/self/exe", self, sizeof(self) - 1);
        if (n > 0) {
                self[n] = '\0';
                path = path_join_clean((const char *const[]){self, "..", SHIM_NAME}, 3);
        }
        if (path && access(path, X_OK) == 0)
                return TAKE_PTR(path);
        return strdup(SHIM_NAME);
}

/* In the child: never returns. */
static void shim_exec(const char *const *argv, const char *cwd, int in, int out, int err_fd)
{
        sigset_t none;

        (void)sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
        (void)setpgid(0, 0); /* a ^C at the terminal is not for the shim */
        (void)unsetenv("TTRPC_ADDRESS");
        /* What is to be preserved is the container's alone. */
        (void)close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
        if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 ||
            dup2(err_fd, STDERR_FILENO) < 0 || chdir(cwd) < 0)
                _exit(126);
        execvp(argv[0], (char *const *)argv);
        dprintf(STDERR_FILENO, "execute '%s': %s", argv[0], strerror(errno));
        _exit(127);
}

/* Reads to the end what the child says and waits for it. Its failure is an error with its words. */
static int shim_await(pid_t pid, int fd, const char *action, char **ret, size_t *ret_len,
                      struct error *err)
{
        _cleanup_free_ char *text = NULL;
        size_t len = 0;
        int status = -1;
        int r = fd_read_all(fd, OUTPUT_BYTES_MAX, &text, &len);

        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        if (r < 0)
                return error_errno(err, -r, "read from the shim (%s)", action);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
                return error_set(err, STATUS_UNKNOWN, "%s the shim: %s", action,
                                 len > 0 ? text : "it was killed");
        *ret = TAKE_PTR(text);
        *ret_len = len;
        return 0;
}

/*
 * Runs one action of the shim in the bundle, or, without an id, one of its flags. input stands in
 * its standard input. What it writes to stderr, and but for `delete` to stdout, too, comes back in
 * *ret.
 */
static int shim_run(const struct args *args, const char *bundle, const char *action,
                    const void *input, size_t input_len, char **ret, size_t *ret_len,
                    struct error *err)
{
        _cleanup_free_ char *path = shim_path(args);
        _cleanup_free_ char *grpc =
                path_join_clean((const char *const[]){args->root, "belay.sock"}, 2);
        bool start = str_equal(action, "start");
        const char *argv[] = {path,
                              "-namespace",
                              args->runtime_namespace,
                              "-address",
                              grpc,
                              "-id",
                              args->id,
                              "-bundle",
                              bundle,
                              args->debug ? "-debug" : "-debug=false",
                              args->orphans ? "-orphans" : "-orphans=false",
                              "-same-oom-score",
                              action,
                              NULL};
        const char *info_argv[] = {path, action, NULL};
        bool info = action[0] == '-';
        _cleanup_close_ int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        _cleanup_close_ int in = -1;
        _cleanup_close_ int in_writer = -1;
        _cleanup_close_ int out = -1;
        _cleanup_close_ int out_writer = -1;
        int fds[2];
        pid_t pid;

        if (!path || !grpc)
                return error_errno(err, ENOMEM, "%s the shim", action);
        if (null_fd < 0 || pipe2(fds, O_CLOEXEC) < 0)
                return error_errno(err, errno, "%s the shim", action);
        in = fds[0];
        in_writer = fds[1];
        if (pipe2(fds, O_CLOEXEC) < 0)
                return error_errno(err, errno, "%s the shim", action);
        out = fds[0];
        out_writer = fds[1];
        /* Far less than a pipe holds, so nobody needs to read it yet. */
        if (fd_write_all(in_writer, input, input_len) < 0)
                return error_errno(err, EPIPE, "%s the shim", action);
        in_writer = fd_close(in_writer);
        pid = fork();
        if (pid < 0)
                return error_errno(err, errno, "fork");
        if (pid == 0)
                shim_exec(info ? info_argv : argv, bundle, in, start || info ? out_writer : null_fd,
                          out_writer);
        out_writer = fd_close(out_writer);
        return shim_await(pid, out, action, ret, ret_len, err);
}

int program_decode_reply(const char *data, size_t len, char **ret_address, struct error *err)
{
        Result *result;

        if (len > 7 && memcmp(data, "unix://", 7) == 0) {
                *ret_address = strndup(data, len);
                return *ret_address ? 0 : error_errno(err, ENOMEM, "read the shim's address");
        }
        result = containerd__runtime__bootstrap__v1__bootstrap_result__unpack(
                NULL, len, (const uint8_t *)data);
        if (!result || str_is_empty(result->address))
                return error_set(err, STATUS_UNKNOWN, "the shim gave no address: %.*s", (int)len,
                                 data);
        *ret_address = strdup(result->address);
        containerd__runtime__bootstrap__v1__bootstrap_result__free_unpacked(result, NULL);
        return *ret_address ? 0 : error_errno(err, ENOMEM, "read the shim's address");
}

int program_start(const struct args *args, const char *bundle, char **ret_address,
                  struct error *err)
{
        Params params = CONTAINERD__RUNTIME__BOOTSTRAP__V1__BOOTSTRAP_PARAMS__INIT;
        _cleanup_free_ char *socket_dir = NULL;
        _cleanup_free_ uint8_t *input = NULL;
        _cleanup_free_ char *output = NULL;
        size_t len = 0;

        if (store_path(args->root, ".s", &socket_dir, err) < 0)
                return -1;
        params.instance_id = (char *)args->id;
        params.namespace_ = (char *)args->runtime_namespace;
        /* A longer one leaves the shim to its default. */
        if (strlen(socket_dir) <= SOCKET_DIR_MAX)
                params.socket_dir = socket_dir;
        len = containerd__runtime__bootstrap__v1__bootstrap_params__get_packed_size(&params);
        input = malloc(len);
        if (!input)
                return error_errno(err, ENOMEM, "start the shim");
        containerd__runtime__bootstrap__v1__bootstrap_params__pack(&params, input);
        if (shim_run(args, bundle, "start", input, len, &output, &len, err) < 0)
                return -1;
        return program_decode_reply(output, len, ret_address, err);
}

int program_delete(const struct args *args, const char *bundle, struct error *err)
{
        _cleanup_free_ char *warnings = NULL;
        size_t len = 0;

        if (shim_run(args, bundle, "delete", NULL, 0, &warnings, &len, err) < 0)
                return -1;
        if (len > 0)
                dprintf(STDERR_FILENO, "belay: %s", warnings);
        return 0;
}

int program_features(const struct args *args, char **ret_json, struct error *err)
{
        _cleanup_free_ char *output = NULL;
        Containerd__Types__RuntimeInfo *info;
        size_t len = 0;

        if (shim_run(args, "/", "-info", NULL, 0, &output, &len, err) < 0)
                return -1;
        info = containerd__types__runtime_info__unpack(NULL, len, (const uint8_t *)output);
        if (!info || !info->features || info->features->value.len == 0) {
                if (info)
                        containerd__types__runtime_info__free_unpacked(info, NULL);
                return error_set(err, STATUS_UNKNOWN, "the shim does not say what it can do");
        }
        *ret_json = strndup((const char *)info->features->value.data, info->features->value.len);
        containerd__types__runtime_info__free_unpacked(info, NULL);
        return *ret_json ? 0 : error_errno(err, ENOMEM, "print the features");
}
