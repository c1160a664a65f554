/* SPDX-License-Identifier: Apache-2.0
 *
 * Who outlives SIGKILL. A process that waits in the kernel for a disk or a network file system that
 * does not answer ends when that wait ends, which is nobody's to decide here. An operator has to
 * know which process it is.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/str.h"
#include "pkg/cgroup/internal.h"

enum {
        STAT_BYTES_MAX = 1024, /* proc_pid_stat(5) */
        LOOKED_AT_MAX = 256,   /* processes, for one that sleeps so */
};

/* The state's letter and the name of a process; 0 if it is gone. */
static char read_state(pid_t pid, char name[32])
{
        _cleanup_free_ char *text = NULL;
        char path[32];
        char *open;
        char *close;

        (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
        if (file_read(AT_FDCWD, path, STAT_BYTES_MAX, &text, NULL) < 0)
                return 0;
        /* The name may hold anything, parentheses too. */
        open = strchr(text, '(');
        close = strrchr(text, ')');
        if (!open || !close || close < open || close[1] != ' ' || !close[2])
                return 0;
        *close = '\0';
        for (char *p = open + 1; *p; p++) {
                if ((unsigned char)*p < ' ')
                        *p = '?';
        }
        str_make_utf8(open + 1);
        (void)snprintf(name, 32, "%s", open + 1);
        return close[2];
}

bool cgroup_survivor(const struct cgroup *cg, char *text, size_t size)
{
        struct pid_list list = {0};
        bool found = false;

        (void)pid_list_read_all(cg, true, &list);
        for (size_t i = 0; i < list.n && i < LOOKED_AT_MAX; i++) {
                char name[32];
                char state = read_state(list.items[i], name);

                if (state == 0 || state == 'Z' || state == 'X' || (found && state != 'D'))
                        continue;
                (void)snprintf(text, size, "process %d (%s) %s", (int)list.items[i], name,
                               state == 'D' ? "is in uninterruptible sleep" : "has not ended");
                found = true;
                if (state == 'D')
                        break;
        }
        pid_list_free(&list);
        return found;
}
