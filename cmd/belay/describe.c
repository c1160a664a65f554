/* SPDX-License-Identifier: Apache-2.0
 *
 * belay spec and belay features: what one can begin with, and what belay can do. No container is
 * concerned.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"

#include "cmd/belay/program.h"
#include "cmd/belay/spec.h"
#include "cmd/belay/verbs.h"

int verb_spec(const struct args *args, int *ret_status, struct error *err)
{
        const char *dir = args->bundle ? args->bundle : ".";
        _cleanup_close_ int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_close_ int fd = -1;
        _cleanup_free_ char *json = NULL;
        int r;

        *ret_status = 0;
        if (dirfd < 0)
                return error_errno(err, errno, "open '%s'", dir);
        if (spec_template(args->rootless, &json, err) < 0)
                return -1;
        fd = openat(dirfd, "config.json", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0)
                return error_errno(err, errno, "write '%s/config.json'", dir);
        r = fd_write_all(fd, json, strlen(json));
        return r < 0 ? error_errno(err, -r, "write '%s/config.json'", dir) : 0;
}

int verb_features(const struct args *args, int *ret_status, struct error *err)
{
        _cleanup_free_ char *json = NULL;

        *ret_status = 0;
        if (program_features(args, &json, err) < 0)
                return -1;
        puts(json);
        return 0;
}
