/* SPDX-License-Identifier: Apache-2.0
 *
 * The last steps: the program is found as execvp(3) would find it, but with the container's PATH
 * and with texts that clients know; then filter and execve.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pkg/base/error.h"
#include "pkg/base/fd.h"
#include "pkg/base/str.h"
#include "pkg/engine/child_private.h"

enum { REASON_MAX = 64 };

/* strerror(3) as Go writes it, which is what clients compare with. */
static const char *reason_of(int errnum, char *buf, size_t size)
{
        (void)snprintf(buf, size, "%s", strerror(errnum));
        if (buf[0] >= 'A' && buf[0] <= 'Z')
                buf[0] = (char)(buf[0] - 'A' + 'a');
        return buf;
}

/* 0, or why path cannot be executed. A filter that denies the question does not answer it. */
static int try_program(const char *path)
{
        struct stat st;

        if (fstatat(AT_FDCWD, path, &st, 0) < 0)
                return errno == ENOSYS || errno == EPERM ? 0 : -errno;
        if (S_ISDIR(st.st_mode))
                return -EISDIR;
        if (faccessat(AT_FDCWD, path, X_OK, 0) < 0 && errno != ENOSYS && errno != EPERM)
                return -errno;
        /* root may do everything but this */
        return st.st_mode & 0111 ? 0 : -EACCES;
}

static int refuse(const char *name, int errnum, struct error *err, const char *text)
{
        (void)error_set(err, STATUS_UNKNOWN, "exec: \"%s\": %s", name, text);
        if (err)
                err->errnum = errnum;
        return -1;
}

static int find_by_path(struct plan_private *p, const char *name, struct error *err)
{
        char reason[REASON_MAX];
        int r;

        if (strlen(name) >= sizeof(p->exec_path))
                return refuse(name, ENAMETOOLONG, err, "file name too long");
        r = try_program(name);
        /* Docker makes exit status 126 of "permission denied", and has no word for a directory. */
        if (r == -EISDIR)
                return refuse(name, EISDIR, err, "is a directory: permission denied");
        if (r == -EACCES)
                return refuse(name, EACCES, err, reason_of(EACCES, reason, sizeof(reason)));
        if (r < 0) {
                (void)error_set(err, STATUS_UNKNOWN, "exec: \"%s\": stat %s: %s", name, name,
                                reason_of(-r, reason, sizeof(reason)));
                if (err)
                        err->errnum = -r;
                return -1;
        }
        memcpy(p->exec_path, name, strlen(name) + 1);
        return 0;
}

int child_find_program(const struct plan *plan, struct error *err)
{
        struct plan_private *p = plan->private_;
        const char *name = plan->process->args.items[0];
        const char *dir = p->search_path;
        bool denied = false;

        if (strchr(name, '/'))
                return find_by_path(p, name, err);
        while (*name) {
                size_t n = strcspn(dir, ":");
                int len = snprintf(p->exec_path, sizeof(p->exec_path), "%.*s%s%s", (int)n, dir,
                                   n > 0 ? "/" : "./", name);
                int r = len < 0 || (size_t)len >= sizeof(p->exec_path) ? -ENAMETOOLONG
                                                                       : try_program(p->exec_path);

                if (r == 0)
                        return 0;
                if (r == -EACCES)
                        denied = true;
                if (!dir[n])
                        break;
                dir += n + 1;
        }
        p->exec_path[0] = '\0';
        if (denied)
                return refuse(name, EACCES, err, "permission denied");
        return refuse(name, ENOENT, err, "executable file not found in $PATH");
}

int child_load_seccomp(const struct plan *plan, child_listener_fn on_listener, void *userdata,
                       struct error *err)
{
        const struct plan_seccomp *s = &plan->seccomp;
        long r;

        if (s->prog.len == 0)
                return 0;
        r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, s->flags, &s->prog);
        if (r < 0 || (r > 0 && !plan_has_listener(plan)))
                return error_errno(err, r < 0 ? errno : ESRCH, "load the seccomp filter");
        if (!plan_has_listener(plan))
                return 0;
        if (!on_listener)
                return error_set(err, STATUS_INTERNAL, "seccomp: nobody takes the listener");
        if (on_listener((int)r, userdata, err) < 0)
                return -1;
        fd_close((int)r);
        return 0;
}

int child_exec(const struct plan *plan, child_hooks_fn hooks, void *userdata,
               void (*before_exec)(void *userdata), struct error *err)
{
        const struct plan_private *p = plan->private_;
        char reason[REASON_MAX];
        int saved;

        if (plan->spec && plan->spec->hooks.start_container.n > 0 && hooks &&
            hooks(&plan->spec->hooks.start_container, userdata, err) < 0)
                return -1;
        if (plan->options.passed && passed_release(plan->options.passed, err) < 0)
                return -1;
        if (p->listen_pid)
                (void)snprintf(p->listen_pid, sizeof("LISTEN_PID=2147483647"), LISTEN_PID_FORMAT,
                               (int)getpid());
        if (before_exec)
                before_exec(userdata);
        if (!plan_loads_seccomp_early(plan) && child_load_seccomp(plan, NULL, NULL, err) < 0)
                return -1;
        (void)execve(p->exec_path, plan->process->args.items, p->envp);
        saved = errno;
        (void)error_set(err, STATUS_UNKNOWN, "exec '%s': %s", p->exec_path,
                        reason_of(saved, reason, sizeof(reason)));
        if (err)
                err->errnum = saved;
        return -1;
}
