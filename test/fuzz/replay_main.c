/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs a fuzz target over files, or over all files of directories, without libFuzzer: so that what
 * was once found stays found in every ordinary test run. An empty corpus is a failure.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"

enum { INPUT_MAX = 16 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(int dirfd, const char *path)
{
        _cleanup_free_ char *text = NULL;
        _cleanup_free_ uint8_t *exact = NULL;
        size_t len = 0;
        int r = file_read(dirfd, path, INPUT_MAX, &text, &len);

        if (r < 0) {
                (void)fprintf(stderr, "%s: %s\n", path, strerror(-r));
                return -1;
        }
        /* Without the NUL that file_read adds, so that a sanitizer sees a read beyond the end. */
        exact = malloc(len ? len : 1);
        if (!exact)
                return -1;
        memcpy(exact, text, len);
        (void)LLVMFuzzerTestOneInput(exact, len);
        return 0;
}

static int replay_directory(const char *path, int *ret_n)
{
        _cleanup_closedir_ DIR *dir = opendir(path);
        const struct dirent *entry;

        if (!dir)
                return -1;
        while ((entry = readdir(dir))) {
                if (entry->d_name[0] == '.')
                        continue;
                if (replay_file(dirfd(dir), entry->d_name) < 0)
                        return -1;
                (*ret_n)++;
        }
        return 0;
}

int main(int argc, char **argv)
{
        int n = 0;

        for (int i = 1; i < argc; i++) {
                if (replay_directory(argv[i], &n) == 0)
                        continue;
                if (replay_file(AT_FDCWD, argv[i]) < 0)
                        return EXIT_FAILURE;
                n++;
        }
        (void)printf("%d inputs replayed\n", n);
        return n > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
