/* SPDX-License-Identifier: Apache-2.0
 *
 * HOME, when the process has none, from the image's /etc/passwd. The file is the image's: it may be
 * endless, a FIFO, or full of lines as long as it likes, so it is read in pieces, a bounded number
 * of them, and a line that does not fit is not looked at.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/error.h"
#include "pkg/base/limits.h"
#include "pkg/base/str.h"
#include "pkg/engine/child_private.h"

enum { LINE_MAX_BYTES = 2048 };

/* passwd(5): name:password:uid:gid:gecos:home:shell. Splits in place; NULL if this is not uid's. */
static const char *home_of(char *line, uint32_t uid)
{
        char *fields[7] = {0};
        uint64_t value = 0;
        size_t n = 0;

        for (char *p = line; p && n < 7; n++) {
                fields[n] = p;
                p = strchr(p, ':');
                if (p)
                        *p++ = '\0';
        }
        if (n < 6 || str_to_u64(fields[2], &value) < 0 || value != uid)
                return NULL;
        return fields[5];
}

/* Takes the lines out of buf, and says how much of it was no whole line. *skipping: the line goes
 * on from before buf, and is too long. */
static size_t scan(char *buf, size_t len, uint32_t uid, bool *skipping, const char **ret_home)
{
        size_t start = 0;

        while (start < len) {
                char *end = memchr(buf + start, '\n', len - start);

                if (!end)
                        break;
                *end = '\0';
                if (!*skipping)
                        *ret_home = home_of(buf + start, uid);
                *skipping = false;
                if (*ret_home)
                        return 0;
                start = (size_t)(end - buf) + 1;
        }
        memmove(buf, buf + start, len - start);
        return len - start;
}

static bool find_in(int fd, uint32_t uid, char *ret, size_t size)
{
        char buf[LINE_MAX_BYTES + 1];
        const char *home = NULL;
        bool skipping = false;
        size_t total = 0;
        size_t len = 0;

        while (total < LIMIT_PASSWD_BYTES) {
                ssize_t n = read(fd, buf + len, sizeof(buf) - 1 - len);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return false;
                if (n == 0) { /* the last line may lack its end */
                        buf[len] = '\0';
                        home = skipping ? NULL : home_of(buf, uid);
                        break;
                }
                total += (size_t)n;
                len = scan(buf, len + (size_t)n, uid, &skipping, &home);
                if (home)
                        break;
                if (len == sizeof(buf) - 1) {
                        skipping = true;
                        len = 0;
                }
        }
        if (!home || home[0] != '/' || strlen(home) >= size)
                return false;
        memcpy(ret, home, strlen(home) + 1);
        return true;
}

void child_find_home(const struct plan *plan)
{
        struct plan_private *p = plan->private_;
        static const char key[] = "HOME=";
        _cleanup_close_ int fd = -1;
        struct stat st;
        char *value = p->home + sizeof(key) - 1;

        if (p->has_home)
                return;
        memcpy(p->home, "HOME=/", sizeof("HOME=/"));
        p->envp[p->home_slot] = p->home;
        fd = child_open_in_root(child_root(plan), "/etc/passwd", O_RDONLY | O_NONBLOCK | O_NOCTTY);
        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
                return;
        if (!find_in(fd, plan->process->user.uid, value, sizeof(p->home) - sizeof(key)))
                memcpy(value, "/", sizeof("/"));
}
