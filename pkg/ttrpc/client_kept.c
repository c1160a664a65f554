/* SPDX-License-Identifier: Apache-2.0
 *
 * A client that outlives its process image (keep.h): one connection, of which the last request may
 * be waited for again. Whether that was queued is right at every instruction; so a request that was
 * on its way at a crash is neither sent twice nor waited for in vain.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "pkg/base/cleanup.h"
#include "pkg/ttrpc/client.h"

int ttrpc_client_keep(struct ttrpc_client *client, void *memory, size_t size, struct error *err)
{
        _cleanup_(ttrpc_keep_unref_p) struct ttrpc_keep *keep = NULL;
        struct stat st;

        assert(!client->conn->kept && client->next_id == 1);
        if (ttrpc_keep_new(&keep, memory, size, err) < 0)
                return -1;
        if (fstat(client->conn->fd, &st) < 0)
                return error_errno(err, errno, "ttrpc client: fstat");
        ttrpc_keep_conn_gone(keep, 0);
        (void)ttrpc_keep_conn(keep, client->conn->fd);
        atomic_store(&keep->areas[0].inode, st.st_ino);
        client->conn->kept = ttrpc_kept_of_slot(keep, 0);
        if (client->conn->kept)
                return 0;
        ttrpc_keep_conn_gone(keep, 0);
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "ttrpc client: no memory");
}

/* The descriptor of the kept connection, or -1: the number may be something else's by now, if a
 * version in between did not know of it. */
static int kept_socket(const struct ttrpc_keep *keep)
{
        int fd = atomic_load(&keep->head->conns[0]) - 1;
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISSOCK(st.st_mode) ||
            st.st_ino != atomic_load(&keep->areas[0].inode))
                return -1;
        return fd;
}

/* Of the image before, with all that it needs; the descriptor is taken on success. */
static int client_of_slot(struct ttrpc_client **ret, struct loop *loop, int fd,
                          struct ttrpc_keep *keep, struct error *err)
{
        struct ttrpc_kept *kept = ttrpc_kept_of_slot(keep, 0);

        if (!kept)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "ttrpc client: no memory");
        if (ttrpc_client_of_fd_take(ret, loop, fd, kept, err) < 0) {
                ttrpc_kept_leave(kept);
                return -1;
        }
        (*ret)->conn->last_id = ttrpc_kept_last_asked(kept, &(*ret)->last_tag);
        (*ret)->next_id = (*ret)->conn->last_id > 0 ? (*ret)->conn->last_id + 2 : 1;
        return 0;
}

int ttrpc_client_restore(struct ttrpc_client **ret, struct loop *loop, void *memory, size_t size,
                         struct error *err)
{
        _cleanup_(ttrpc_keep_unref_p) struct ttrpc_keep *keep = NULL;
        int fd;

        *ret = NULL;
        if (ttrpc_keep_new(&keep, memory, size, err) < 0)
                return -1;
        fd = kept_socket(keep);
        if (fd < 0 || ttrpc_keep_check(keep, NULL) < 0 || !ttrpc_keep_is_whole(keep, 0))
                return 0;
        if (client_of_slot(ret, loop, fd, keep, err) < 0)
                return -1;
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
        return 0;
}

void ttrpc_client_go_on(struct ttrpc_client *client)
{
        ttrpc_kept_asked_found(client->conn->kept);
        ttrpc_conn_resume(client->conn);
        loop_defer(client->loop, &client->restored);
}

bool ttrpc_client_is_kept(const struct ttrpc_client *client)
{
        const struct ttrpc_conn *conn = client->conn;

        return !client->closed && !conn->doomed && conn->kept && !conn->reading &&
               ttrpc_area_is_whole(conn->kept->area);
}
