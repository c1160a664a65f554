/* SPDX-License-Identifier: Apache-2.0
 *
 * belay ps: which processes a container has is asked of its shim; what there is to say of them, of
 * /proc or, with options of ps(1), of that program, whose lines are passed on as far as they are
 * the container's.
 */
#include <containerd/task/v2/task.pb-c.h>
#include <containerd/v1/types/task.pb-c.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"
#include "pkg/base/limits.h"
#include "pkg/base/str.h"

#include "cmd/belay/container.h"
#include "cmd/belay/verbs.h"

typedef Containerd__Task__V2__PidsResponse Pids;

enum { PS_OUTPUT_BYTES_MAX = 64 << 20 };

/* A command line of a process, for people: "" when it is gone. */
static void print_process(uint32_t pid)
{
        _cleanup_free_ char *path = str_printf("/proc/%u/cmdline", pid);
        _cleanup_free_ char *text = NULL;
        size_t len = 0;

        if (!path || file_read(AT_FDCWD, path, LIMIT_PROC_BYTES, &text, &len) < 0)
                len = 0;
        for (size_t i = 0; i < len; i++) {
                if ((unsigned char)text[i] < ' ')
                        text[i] = ' ';
        }
        printf("%-8u  %s\n", pid, len > 0 ? text : "");
}

static void print_json(const Pids *pids)
{
        printf("[");
        for (size_t i = 0; pids && i < pids->n_processes; i++)
                printf("%s%u", i > 0 ? "," : "", pids->processes[i]->pid);
        puts("]");
}

static void print_table(const Pids *pids)
{
        printf("%-8s  %s\n", "PID", "COMMAND");
        for (size_t i = 0; pids && i < pids->n_processes; i++)
                print_process(pids->processes[i]->pid);
}

/* In the child: never returns. */
static _Noreturn void ps_exec(const struct args *args, const char **argv, int out)
{
        argv[0] = "ps";
        for (size_t i = 0; i < args->n_words; i++)
                argv[i + 1] = args->words[i];
        if (dup2(out, STDOUT_FILENO) < 0)
                _exit(126);
        execvp(argv[0], (char *const *)argv);
        dprintf(STDERR_FILENO, "execute 'ps': %s\n", strerror(errno));
        _exit(127);
}

/* What ps(1) prints of all processes, on the heap. */
static int ps_run(const struct args *args, char **ret, struct error *err)
{
        _cleanup_free_ const char **argv = calloc(args->n_words + 2, sizeof(*argv));
        _cleanup_free_ char *text = NULL;
        _cleanup_close_ int out = -1;
        int status = -1;
        int fds[2];
        pid_t pid;
        int r;

        if (!argv)
                return error_errno(err, ENOMEM, "run ps");
        if (pipe2(fds, O_CLOEXEC) < 0)
                return error_errno(err, errno, "run ps");
        out = fds[0];
        pid = fork();
        if (pid == 0)
                ps_exec(args, argv, fds[1]);
        fd_close(fds[1]);
        if (pid < 0)
                return error_errno(err, errno, "run ps");
        r = fd_read_all(out, PS_OUTPUT_BYTES_MAX, &text, NULL);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        if (r < 0)
                return error_errno(err, -r, "read what ps prints");
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
                return error_set(err, STATUS_UNKNOWN, "ps has failed");
        *ret = TAKE_PTR(text);
        return 0;
}

/* The word of that index in a line, cut out in place; NULL: there are not as many. */
static const char *word_at(char *line, size_t index)
{
        char *save = NULL;
        const char *word = strtok_r(line, " ", &save);

        while (word && index-- > 0)
                word = strtok_r(NULL, " ", &save);
        return word;
}

/* The column of the pid in ps's first line; -1: it has none. */
static int pid_column(char *header)
{
        char *save = NULL;
        int i = 0;

        for (const char *word = strtok_r(header, " ", &save); word;
             word = strtok_r(NULL, " ", &save), i++) {
                if (str_equal(word, "PID"))
                        return i;
        }
        return -1;
}

static bool is_among(const char *word, const Pids *pids)
{
        uint64_t pid;

        if (!word || str_to_u64(word, &pid) < 0)
                return false;
        for (size_t i = 0; pids && i < pids->n_processes; i++) {
                if (pids->processes[i]->pid == pid)
                        return true;
        }
        return false;
}

static int print_filtered(char *text, const Pids *pids, struct error *err)
{
        char *save = NULL;
        int column = -1;

        for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                _cleanup_free_ char *copy = strdup(line);

                if (!copy)
                        return error_errno(err, ENOMEM, "read what ps prints");
                if (column < 0) {
                        column = pid_column(copy);
                        if (column < 0)
                                return error_set(err, STATUS_INVALID_ARGUMENT,
                                                 "ps prints no column PID with these options");
                        puts(line);
                } else if (is_among(word_at(copy, (size_t)column), pids)) {
                        puts(line);
                }
        }
        return 0;
}

static int print(const struct args *args, const Pids *pids, struct error *err)
{
        _cleanup_free_ char *text = NULL;

        if (args->json || (args->format && str_equal(args->format, "json"))) {
                print_json(pids);
                return 0;
        }
        if (args->n_words == 0) {
                print_table(pids);
                return 0;
        }
        return ps_run(args, &text, err) < 0 ? -1 : print_filtered(text, pids, err);
}

/* A stopped container has none, though the shim names the init that has been (see the shim's Pids).
 */
int verb_ps(const struct args *args, int *ret_status, struct error *err)
{
        _cleanup_(container_close) struct container c = {0};
        _cleanup_(task_state_deinit) struct task_state state = {0};
        Containerd__Task__V2__PidsRequest request = CONTAINERD__TASK__V2__PIDS_REQUEST__INIT;
        ProtobufCMessage *response = NULL;
        int r;

        *ret_status = 0;
        request.id = (char *)args->id;
        if (container_open(&c, args, NULL, err) < 0 ||
            task_state(c.task, args->id, "", &state, err) < 0)
                return -1;
        if (state.status != CONTAINERD__V1__TYPES__STATUS__STOPPED &&
            task_call(c.task, "Pids", &request.base, 0, &response, err) < 0)
                return -1;
        r = print(args, (const Pids *)response, err);
        if (response)
                protobuf_c_message_free_unpacked(response, NULL);
        return r;
}
