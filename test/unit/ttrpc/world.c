/* SPDX-License-Identifier: Apache-2.0
 *
 * See world.h.
 */
#include "test/unit/ttrpc/world.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/clock.h"
#include "pkg/base/fd.h"
#include "pkg/ttrpc/limits.h"
#include "pkg/ttrpc/out.h"

enum { GUARD_SECONDS = 60 };

static const char *image_path;

void world_set_image(const char *path)
{
        image_path = path;
}

static void guard_fired(struct loop_timer *timer, void *userdata)
{
        fail_msg("waited %d s for nothing", GUARD_SECONDS);
}

/* ---- The server's process ---- */

static void run_image(const struct world *w)
{
        char fds[3][16];
        char *argv[] = {(char *)image_path, fds[0], fds[1], fds[2], NULL};
        const int numbers[] = {w->listener, w->memory_fd, w->control_fd};

        for (int i = 0; i < 3; i++) {
                (void)snprintf(fds[i], sizeof(fds[i]), "%d", numbers[i]);
                (void)fcntl(numbers[i], F_SETFD, 0);
        }
        (void)execv(image_path, argv);
        _exit(99);
}

void world_connect(struct world *w, struct peer *p)
{
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_int_equal(connect(fd, (struct sockaddr *)&w->address, w->n_address), 0);
        peer_init_fd(p, w->loop, fd);
}

void world_start(struct world *w)
{
        memset(w, 0, sizeof(*w));
        assert_int_equal(loop_new(&w->loop, NULL), 0);
        w->guard = loop_timer_new(w->loop, guard_fired, w);
        assert_int_equal(loop_timer_set(w->guard, GUARD_SECONDS * NSEC_PER_SEC), 0);
        w->memory_fd = memfd_create("kept", MFD_CLOEXEC);
        assert_int_equal(ftruncate(w->memory_fd, (off_t)TTRPC_KEEP_BYTES(IMAGE_CONNS)), 0);
        w->control_fd = memfd_create("control", MFD_CLOEXEC);
        assert_int_equal(ftruncate(w->control_fd, sizeof(*w->control)), 0);
        w->control = mmap(NULL, sizeof(*w->control), PROT_READ | PROT_WRITE, MAP_SHARED,
                          w->control_fd, 0);
        assert_ptr_not_equal(w->control, MAP_FAILED);
        /* The kernel finds a name that nobody has. */
        w->address.sun_family = AF_UNIX;
        w->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(w->listener, (struct sockaddr *)&w->address, sizeof(sa_family_t)), 0);
        w->n_address = sizeof(w->address);
        assert_int_equal(getsockname(w->listener, (struct sockaddr *)&w->address, &w->n_address),
                         0);
        assert_int_equal(listen(w->listener, 16), 0);
}

void world_assert_alive(const struct world *w)
{
        if (waitpid(w->pid, NULL, WNOHANG) != 0)
                fail_msg("the server is gone");
}

void world_serve(struct world *w)
{
        w->pid = fork();
        assert_true(w->pid >= 0);
        if (w->pid == 0) {
                /* A test that fails leaves it behind. */
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                run_image(w);
        }
        world_connect(w, &w->peer);
        /* From then on it takes signals. */
        while (w->control->n_images == 0) {
                world_assert_alive(w);
                (void)poll(NULL, 0, 1);
        }
}

void world_stop(struct world *w)
{
        int status = 0;

        peer_deinit(&w->peer);
        (void)kill(w->pid, SIGKILL);
        assert_int_equal(waitpid(w->pid, &status, 0), w->pid);
        if (!WIFSIGNALED(status))
                fail_msg("the server has exited with status %x", status);
        (void)munmap((void *)w->control, sizeof(*w->control));
        fd_close(w->control_fd);
        fd_close(w->memory_fd);
        fd_close(w->listener);
        loop_timer_free(w->guard);
        loop_free(w->loop);
}

/* Until the server has read all that the peer wrote. */
void world_wait_taken(struct world *w, const struct peer *p)
{
        int n = 1;

        while (ioctl(p->fd, SIOCOUTQ, &n) == 0 && n > 0) {
                world_assert_alive(w);
                (void)poll(NULL, 0, 1);
        }
        assert_int_equal(n, 0);
}

void world_wait_seen(struct world *w, size_t number, unsigned n)
{
        while (w->control->seen[number] < n) {
                world_assert_alive(w);
                (void)poll(NULL, 0, 1);
        }
}

void world_limit_fds(const struct world *w)
{
        struct rlimit limit = {0};
        char path[64];

        for (bool used = true; used; limit.rlim_cur += used) {
                (void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)w->pid,
                               (int)limit.rlim_cur);
                used = access(path, F_OK) == 0 ||
                       faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
        }
        limit.rlim_max = limit.rlim_cur;
        assert_int_equal(prlimit(w->pid, RLIMIT_NOFILE, &limit, NULL), 0);
}

void world_reexec(struct world *w)
{
        uint64_t n = w->control->n_images;

        assert_int_equal(kill(w->pid, SIGHUP), 0);
        while (w->control->n_images == n) {
                world_assert_alive(w);
                (void)poll(NULL, 0, 1);
        }
}

/* ---- Frames ---- */

uint8_t *echo_frame(uint32_t id, const char *method, const char *text, uint64_t number,
                    size_t n_data, size_t *ret_len)
{
        Test__Ttrpc__EchoRequest request = TEST__TTRPC__ECHO_REQUEST__INIT;
        uint8_t *data = calloc(1, n_data + 1);
        uint8_t *frame;

        request.text = (char *)text;
        request.number = number;
        request.data.data = data;
        request.data.len = n_data;
        frame = request_new(id, method, &request, 0, ret_len);
        free(data);
        return frame;
}

void count_open(struct peer *p, uint32_t id, uint64_t number)
{
        Test__Ttrpc__EchoRequest request = TEST__TTRPC__ECHO_REQUEST__INIT;
        struct ttrpc_out *out = NULL;

        request.number = number;
        assert_int_equal(ttrpc_out_request(&out, id, TTRPC_FLAG_REMOTE_CLOSED, "test.ttrpc.Chat",
                                           "Count", &request.base, NULL, NULL),
                         0);
        peer_write(p, out->data, out->len);
        ttrpc_out_free(out);
}

/* Opens a Talk. */
void talk_open(struct peer *p, uint32_t id)
{
        struct ttrpc_out *out = NULL;

        assert_int_equal(ttrpc_out_request(&out, id, TTRPC_FLAG_REMOTE_OPEN, "test.ttrpc.Chat",
                                           "Talk", NULL, NULL, NULL),
                         0);
        peer_write(p, out->data, out->len);
        ttrpc_out_free(out);
}

void talk_say(struct peer *p, uint32_t id, const char *text, uint64_t number)
{
        Test__Ttrpc__EchoRequest request = TEST__TTRPC__ECHO_REQUEST__INIT;
        uint8_t packed[256];
        size_t n;

        request.text = (char *)text;
        request.number = number;
        n = test__ttrpc__echo_request__pack(&request, packed);
        peer_send_frame(p, id, TTRPC_FRAME_DATA, 0, packed, n);
}

void talk_expect(struct peer *p, uint32_t id, const char *text)
{
        Test__Ttrpc__EchoResponse *response;
        struct ttrpc_frame frame;
        size_t len = 0;
        uint8_t *bytes = peer_read_bytes(p, &len);

        frame = ttrpc_frame_decode(bytes);
        assert_int_equal(frame.stream_id, id);
        assert_int_equal(frame.type, TTRPC_FRAME_DATA);
        response =
                test__ttrpc__echo_response__unpack(NULL, frame.length, bytes + TTRPC_HEADER_SIZE);
        assert_non_null(response);
        assert_string_equal(response->text, text);
        test__ttrpc__echo_response__free_unpacked(response, NULL);
        free(bytes);
}
