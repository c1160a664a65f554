/* SPDX-License-Identifier: Apache-2.0
 *
 * See self.h. argv[0] is not asked: containerd may call us by any name.
 */
#include "cmd/containerd-shim-belay-v2/self.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/str.h"

char *self_path(void)
{
        char path[PATH_MAX];
        ssize_t n = readlink("/proc/self/exe", path, sizeof(path));

        /* A binary on a detached mount has the path "/". */
        if (n <= 1 || n >= (ssize_t)sizeof(path))
                return strdup("containerd-shim-belay-v2");
        return strndup(path, (size_t)n);
}

char *self_sibling(const char *argv0, const char *name)
{
        _cleanup_free_ char *self = self_path();
        const char *path = self && self[0] == '/' ? self : argv0;

        if (path[0] != '/')
                return NULL;
        return str_printf("%.*s%s", (int)(path_basename(path) - path), path, name);
}

const char *path_basename(const char *path)
{
        const char *slash = strrchr(path, '/');

        return slash ? slash + 1 : path;
}
