/* SPDX-License-Identifier: Apache-2.0
 *
 * See self.h. argv[0] is not asked: containerd may call us by any name.
 */
#include "cmd/containerd-shim-belay-v2/self.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>

char *self_path(void)
{
        char path[PATH_MAX];
        ssize_t n = readlink("/proc/self/exe", path, sizeof(path));

        /* A binary on a detached mount has the path "/". */
        if (n <= 1 || n >= (ssize_t)sizeof(path))
                return strdup("containerd-shim-belay-v2");
        return strndup(path, (size_t)n);
}

const char *path_basename(const char *path)
{
        const char *slash = strrchr(path, '/');

        return slash ? slash + 1 : path;
}
