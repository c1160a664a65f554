/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of what goes through execve(2). A test of this kind has two halves: the first one makes
 * things in one image of the program, the second one finds them in the next, in the same process.
 * So main() calls reexec_main() first, and the test itself only runs the two and looks at the exit
 * status. In the halves cmocka's assertions end the process.
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/unit/unit.h"

enum { REEXEC_MEMORY = 1 << 20, REEXEC_FD_MAX = 256 };

/* What the halves share: the memory goes along. */
struct reexec_case {
        const char *name;
        void (*first)(void *memory);
        void (*second)(void *memory);
};

static inline void reexec_exec(const char *half, const char *name, int memfd)
{
        char number[16];

        (void)snprintf(number, sizeof(number), "%d", memfd);
        execl("/proc/self/exe", "reexec", half, name, number, NULL);
        _exit(126);
}

/* Everything that is open goes through. */
static inline void reexec_keep_all(void)
{
        for (int fd = 3; fd < REEXEC_FD_MAX; fd++)
                (void)fcntl(fd, F_SETFD, 0);
}

/* In main(); returns only if no half was asked for. */
static inline void reexec_main(int argc, char **argv, const struct reexec_case *cases, size_t n)
{
        void *memory;
        int memfd;

        if (argc != 4)
                return;
        memfd = atoi(argv[3]);
        memory = mmap(NULL, REEXEC_MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
        if (memory == MAP_FAILED)
                _exit(125);
        (void)fcntl(memfd, F_SETFD, FD_CLOEXEC);
        for (size_t i = 0; i < n; i++) {
                if (strcmp(cases[i].name, argv[2]) != 0)
                        continue;
                if (strcmp(argv[1], "first") == 0) {
                        cases[i].first(memory);
                        reexec_keep_all();
                        reexec_exec("second", argv[2], memfd);
                }
                cases[i].second(memory);
                exit(EXIT_SUCCESS);
        }
        _exit(124);
}

static inline void reexec_run(const char *name)
{
        int memfd = memfd_create("reexec", MFD_CLOEXEC);
        int status = 0;
        pid_t pid;

        assert_true(memfd >= 0);
        assert_int_equal(ftruncate(memfd, REEXEC_MEMORY), 0);
        (void)fflush(NULL);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                /* Nothing else is there: what comes to the second half comes from the first. */
                memfd = dup2(memfd, STDERR_FILENO + 1) < 0 ? -1 : STDERR_FILENO + 1;
                (void)fcntl(memfd, F_SETFD, 0);
                (void)close_range(STDERR_FILENO + 2, ~0U, 0);
                reexec_exec("first", name, memfd);
        }
        (void)close(memfd);
        while (waitpid(pid, &status, 0) < 0)
                assert_int_equal(errno, EINTR);
        if (status != 0)
                fail_msg("%s: wait status 0x%x", name, (unsigned)status);
}
