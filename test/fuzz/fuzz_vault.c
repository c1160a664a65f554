/* SPDX-License-Identifier: Apache-2.0
 *
 * A state that may be anything: the input is the beginning of the file, which is its header, and
 * what follows the first page. Whatever is accepted can be read and written.
 */
#include <assert.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/state/vault.h"

CLEANUP_DEFINE(struct vault, vault_free)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(vault_free_p) struct vault *made = NULL;
        _cleanup_(vault_free_p) struct vault *vault = NULL;
        _cleanup_close_ int fd = -1;
        char reason[VAULT_REASON_MAX];
        const void *record = NULL;
        volatile uint8_t last = 0;
        size_t len = 0;
        size_t at = 0;

        if (vault_new(&made, NULL) < 0)
                return 0;
        fd = fcntl(vault_fd(made), F_DUPFD_CLOEXEC, 3);
        if (fd < 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
                return 0;
        if (vault_open_take(&vault, fd, NULL) < 0)
                return 0;
        fd = -1;
        while (vault_next(vault, VAULT_SHIM, &at, &record, &len, NULL) > 0) {
                if (len > 0)
                        last = ((const uint8_t *)record)[len - 1];
        }
        (void)last;
        if (vault_size(vault, VAULT_SHIM) > 0)
                (void)vault_add(vault, VAULT_SHIM, "more", 4, NULL);
        vault_reason(vault, reason);
        assert(memchr(reason, 0, sizeof(reason)));
        (void)vault_count_reexec(vault, 1);
        assert(vault_put(vault, VAULT_SHIM, "new", 3, NULL) == 0);
        assert(vault_add(vault, VAULT_SHIM, "er", 2, NULL) == 0);
        at = 0;
        assert(vault_next(vault, VAULT_SHIM, &at, &record, &len, NULL) == 1);
        assert(len == 3 && memcmp(record, "new", 3) == 0);
        assert(vault_next(vault, VAULT_SHIM, &at, &record, &len, NULL) == 1);
        assert(len == 2 && memcmp(record, "er", 2) == 0);
        assert(vault_next(vault, VAULT_SHIM, &at, &record, &len, NULL) == 0);
        return 0;
}
