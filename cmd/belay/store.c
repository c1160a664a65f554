/* SPDX-License-Identifier: Apache-2.0
 *
 * Two levels of known files. A general "rm -r" would be shorter, and would one day empty somebody's
 * root file system through a mount that could not be undone.
 */
#include "cmd/belay/store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"
#include "pkg/base/str.h"

enum { ADDRESS_BYTES_MAX = 256, STORE_IDS_MAX = 65536 };

/* The directory of a run's FIFOs: see stream.c. */
#define STREAM_DIR_PREFIX "io."

static int make_root(const char *root, struct error *err)
{
        _cleanup_free_ char *path = strdup(root);

        if (!path)
                return error_errno(err, ENOMEM, "make '%s'", root);
        for (char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
                *p = '\0';
                if (mkdir(path, 0755) < 0 && errno != EEXIST)
                        return error_errno(err, errno, "mkdir '%s'", path);
                *p = '/';
        }
        if (mkdir(path, 0700) < 0 && errno != EEXIST)
                return error_errno(err, errno, "mkdir '%s'", path);
        return 0;
}

int store_path(const char *root, const char *id, char **ret, struct error *err)
{
        _cleanup_free_ char *cwd = getcwd(NULL, 0);

        if (!cwd)
                return error_errno(err, errno, "find the working directory");
        *ret = path_join_clean((const char *const[]){*root == '/' ? "" : cwd, root, id}, 3);
        return *ret ? 0 : error_errno(err, ENOMEM, "name the bundle of '%s'", id);
}

int store_create(const char *root, const char *id, char **ret_path, struct error *err)
{
        _cleanup_free_ char *path = NULL;

        if (make_root(root, err) < 0 || store_path(root, id, &path, err) < 0)
                return -1;
        if (mkdir(path, 0700) < 0 && errno == EEXIST)
                return error_set(err, STATUS_ALREADY_EXISTS,
                                 "container with given ID already exists: '%s'", id);
        if (access(path, F_OK) < 0)
                return error_errno(err, errno, "mkdir '%s'", path);
        *ret_path = TAKE_PTR(path);
        return 0;
}

/* Empties one of our directories of files; what is a directory stays. */
static void remove_files(int dirfd)
{
        _cleanup_closedir_ DIR *dir = NULL;
        int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct dirent *entry;

        dir = fdopendir(fd);
        if (!dir) {
                fd_close(fd);
                return;
        }
        while ((entry = readdir(dir)))
                (void)unlinkat(dirfd, entry->d_name, 0);
}

/* Sub-directories: those with FIFOs are emptied first, the others (rootfs) must be empty. */
static void remove_dirs(int dirfd)
{
        _cleanup_closedir_ DIR *dir = NULL;
        int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct dirent *entry;

        dir = fdopendir(fd);
        if (!dir) {
                fd_close(fd);
                return;
        }
        while ((entry = readdir(dir))) {
                if (str_has_prefix(entry->d_name, STREAM_DIR_PREFIX)) {
                        _cleanup_close_ int sub =
                                openat(dirfd, entry->d_name,
                                       O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

                        if (sub >= 0)
                                remove_files(sub);
                }
                (void)unlinkat(dirfd, entry->d_name, AT_REMOVEDIR);
        }
}

int store_remove(const char *path, struct error *err)
{
        _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        if (fd < 0)
                return errno == ENOENT ? 0 : error_errno(err, errno, "open '%s'", path);
        remove_files(fd);
        remove_dirs(fd);
        if (rmdir(path) < 0)
                return error_errno(err, errno, "remove '%s'", path);
        return 0;
}

static int compare_ids(const void *a, const void *b)
{
        return strcmp(*(char *const *)a, *(char *const *)b);
}

void store_list_free(char **ids, size_t n)
{
        for (size_t i = 0; i < n; i++)
                free(ids[i]);
        free(ids);
}

int store_list(const char *root, char ***ret_ids, size_t *ret_n, struct error *err)
{
        _cleanup_closedir_ DIR *dir = opendir(root);
        char **ids = NULL;
        size_t n = 0;
        size_t room = 0;
        struct dirent *entry;

        if (!dir && errno != ENOENT)
                return error_errno(err, errno, "open '%s'", root);
        while (dir && (entry = readdir(dir)) && n < STORE_IDS_MAX) {
                if (!id_is_valid(entry->d_name))
                        continue;
                if (n == room) {
                        char **grown = reallocarray(ids, room ? room * 2 : 16, sizeof(*ids));

                        if (!grown)
                                break;
                        ids = grown;
                        room = room ? room * 2 : 16;
                }
                ids[n] = strdup(entry->d_name);
                if (!ids[n])
                        break;
                n++;
        }
        if (n > 0)
                qsort(ids, n, sizeof(*ids), compare_ids);
        *ret_ids = ids;
        *ret_n = n;
        return 0;
}

int store_created_at(const char *path, struct timespec *ret)
{
        _cleanup_free_ char *config = str_printf("%s/config.json", path);
        struct stat st;

        if (!config || stat(config, &st) < 0)
                return -1;
        *ret = st.st_mtim;
        return 0;
}

int store_address(const char *bundle, char **ret, struct error *err)
{
        _cleanup_close_ int fd = open(bundle, O_PATH | O_DIRECTORY | O_CLOEXEC);
        int r;

        if (fd < 0)
                return errno == ENOENT
                               ? error_set(err, STATUS_NOT_FOUND, "no container at '%s'", bundle)
                               : error_errno(err, errno, "open '%s'", bundle);
        r = file_read(fd, "address", ADDRESS_BYTES_MAX, ret, NULL);
        if (r < 0)
                return error_errno(err, -r, "read '%s/address'", bundle);
        return 0;
}
