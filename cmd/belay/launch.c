/* SPDX-License-Identifier: Apache-2.0
 *
 * See launch.h. The pid file is the last thing that create does: who sees it may go on.
 */
#include "cmd/belay/launch.h"

#include <containerd/runc/v1/options.pb-c.h>
#include <containerd/task/v2/task.pb-c.h>
#include <errno.h>
#include <fcntl.h>
#include <google/protobuf/any.pb-c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"
#include "pkg/base/str.h"

#include "cmd/belay/oci_record.h"
#include "cmd/belay/passed.h"
#include "cmd/belay/program.h"

#define OPTIONS_TYPE "containerd.runc.v1.Options"

/* One that is closed is none. */
static void inherit(char uri[static 32], int fd)
{
        if (fcntl(fd, F_GETFD) >= 0)
                (void)snprintf(uri, 32, "fd:///%d/%d", (int)getpid(), fd);
}

int launch_stdio_init(struct launch_stdio *stdio, const struct args *args, bool terminal,
                      struct error *err)
{
        _cleanup_free_ char *path = NULL;

        *stdio = (struct launch_stdio){.console = NULL};
        if (terminal && !args->console_socket)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "cannot allocate tty if it will detach without setting console "
                                 "socket");
        if (!terminal && args->console_socket)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "cannot use console socket if it will not allocate a tty");
        if (!terminal) {
                /* Where only descendants may be traced (Yama), the shim is to be an exception. */
                (void)prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
                inherit(stdio->in, STDIN_FILENO);
                inherit(stdio->out, STDOUT_FILENO);
                inherit(stdio->err, STDERR_FILENO);
                return 0;
        }
        path = realpath(args->console_socket, NULL);
        if (!path)
                return error_errno(err, errno, "console socket '%s'", args->console_socket);
        stdio->console = str_printf("console://%s", path);
        return stdio->console ? 0 : error_errno(err, ENOMEM, "console socket");
}

void launch_stdio_deinit(struct launch_stdio *stdio)
{
        free(stdio->console);
        stdio->console = NULL;
}

const char *launch_stdio_out(const struct launch_stdio *stdio)
{
        return stdio->console ? stdio->console : stdio->out;
}

bool launch_keeps_output(const struct args *args)
{
        return args->container_log || args->interactive;
}

int launch_keep_output(const struct args *args, struct launch *launch, struct error *err)
{
        if (!args->container_log && !launch->terminal)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "--interactive takes --log or a terminal: there would be nothing "
                                 "to attach to");
        launch->in = args->interactive ? "attach:///" : "";
        launch->out = args->container_log ? args->container_log : "";
        launch->err = launch->terminal ? "" : launch->out;
        return 0;
}

int launch_check(const struct args *args, struct error *err)
{
        if (passed_check(args, err) < 0)
                return -1;
        if (args->container_log && !strstr(args->container_log, "://"))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "--log '%s' is no URI as log:///PATH is (--log FILE, for belay's "
                                 "own errors, stands before the verb)",
                                 args->container_log);
        if (launch_keeps_output(args) && args->console_socket)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "whoever is at --console-socket has the terminal: it takes "
                                 "neither --log nor --interactive");
        if (args->cgroup_manager && !str_equal(args->cgroup_manager, "cgroupfs"))
                return error_set(err, STATUS_UNIMPLEMENTED,
                                 "--cgroup-manager '%s' is not supported yet",
                                 args->cgroup_manager);
        return 0;
}

int launch_shim(struct container *c, const struct args *args, const char *bundle,
                const char *config_json, struct error *err)
{
        _cleanup_free_ char *address = NULL;
        _cleanup_close_ int fd = open(c->bundle, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int r;

        if (fd < 0)
                return error_errno(err, errno, "open '%s'", c->bundle);
        /* A plain file that takes the shim's log. */
        r = file_write_atomic(fd, "log", "", 0, 0600);
        if (r < 0)
                return error_errno(err, -r, "write '%s/log'", c->bundle);
        if (oci_record_write(c->bundle, bundle, config_json, err) < 0 ||
            program_start(args, c->bundle, &address, err) < 0)
                return -1;
        return task_open(&c->task, c->loop, address, err);
}

int launch_write_pid(const struct args *args, uint32_t pid, struct error *err)
{
        _cleanup_free_ char *copy = args->pid_file ? strdup(args->pid_file) : NULL;
        _cleanup_close_ int dir = -1;
        char text[16];
        char *slash;
        int r;

        if (!args->pid_file)
                return 0;
        if (!copy)
                return error_errno(err, ENOMEM, "write the pid file");
        slash = strrchr(copy, '/');
        if (slash)
                *slash = '\0';
        dir = open(slash ? (slash > copy ? copy : "/") : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir < 0)
                return error_errno(err, errno, "write the pid file '%s'", args->pid_file);
        (void)snprintf(text, sizeof(text), "%u", pid);
        r = file_write_atomic(dir, slash ? slash + 1 : copy, text, strlen(text), 0644);
        return r < 0 ? error_errno(err, -r, "write the pid file '%s'", args->pid_file) : 0;
}

/* Those of runc's options that the task API knows; value is to be freed. */
static int pack_options(const struct args *args, Google__Protobuf__Any *any, struct error *err)
{
        Containerd__Runc__V1__Options options = CONTAINERD__RUNC__V1__OPTIONS__INIT;

        options.no_pivot_root = args->no_pivot;
        options.no_new_keyring = args->no_new_keyring;
        options.systemd_cgroup = args->systemd_cgroup;
        any->type_url = (char *)OPTIONS_TYPE;
        any->value.len = containerd__runc__v1__options__get_packed_size(&options);
        any->value.data = malloc(any->value.len + 1);
        if (!any->value.data)
                return error_errno(err, ENOMEM, "create the container");
        containerd__runc__v1__options__pack(&options, any->value.data);
        return 0;
}

int launch_create(struct container *c, const struct args *args, const struct launch *launch,
                  struct error *err)
{
        Containerd__Task__V2__CreateTaskRequest request =
                CONTAINERD__TASK__V2__CREATE_TASK_REQUEST__INIT;
        Google__Protobuf__Any options = GOOGLE__PROTOBUF__ANY__INIT;
        ProtobufCMessage *response = NULL;
        struct passed_option passed;
        uint32_t pid;
        int r;

        if (passed_option_init(&passed, args, err) < 0 || pack_options(args, &options, err) < 0)
                return -1;
        request.id = (char *)args->id;
        request.bundle = (char *)launch->bundle;
        request.terminal = launch->terminal;
        request.stdin = (char *)launch->in;
        request.stdout = (char *)launch->out;
        request.stderr = (char *)launch->err;
        request.options = &options;
        r = task_call_with(c->task, "Create", &request.base, &passed.options, &response, err);
        free(options.value.data);
        if (r < 0)
                return -1;
        pid = ((const Containerd__Task__V2__CreateTaskResponse *)response)->pid;
        protobuf_c_message_free_unpacked(response, NULL);
        return launch_write_pid(args, pid, err);
}

int launch_start(struct container *c, const struct args *args, struct error *err)
{
        Containerd__Task__V2__StartRequest start = CONTAINERD__TASK__V2__START_REQUEST__INIT;

        start.id = (char *)args->id;
        return task_call(c->task, "Start", &start.base, 0, NULL, err);
}
