/* SPDX-License-Identifier: Apache-2.0
 *
 * Any text as any file of a cgroup: the first byte selects the parser. What comes out is text that
 * ends and lists that are no longer than the input.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/cgroup/stats_parse.h"

enum { ARENA_BYTES = 16 << 20, TEXT_MAX = 65536 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
        if (!condition)
                abort();
}

struct numbers {
        uint64_t anon;
        uint64_t file;
        uint64_t oom_kill;
};

static const struct stats_key keys[] = {
        {"anon", 4, offsetof(struct numbers, anon)},
        {"file", 4, offsetof(struct numbers, file)},
        {"oom_kill", 8, offsetof(struct numbers, oom_kill)},
};

static void parse_rows(char kind, const char *text, struct arena *arena)
{
        struct cgroup_blkio_list blkio = {0};
        struct cgroup_rdma_list rdma = {0};
        struct cgroup_io_entry *io = NULL;
        uint64_t *list = NULL;
        size_t n = 0;

        switch (kind) {
        case 'b':
                require(stats_parse_blkio(text, arena, &blkio) < 0 || blkio.n <= strlen(text));
                for (size_t i = 0; i < blkio.n; i++)
                        require(strlen(blkio.items[i].op) < CGROUP_OP_MAX);
                break;
        case 'i':
                require(stats_parse_io(text, arena, &io, &n) < 0 || n <= strlen(text));
                break;
        case 'l':
                require(stats_parse_list(text, arena, &list, &n) < 0 || n <= strlen(text));
                break;
        default:
                require(stats_parse_rdma(text, arena, &rdma) < 0 || rdma.n <= strlen(text));
                for (size_t i = 0; i < rdma.n; i++)
                        require(strlen(rdma.items[i].device) > 0);
                break;
        }
}

static void parse(char kind, const char *text, struct arena *arena)
{
        char page_size[CGROUP_PAGE_SIZE_NAME_MAX];
        struct numbers numbers = {0};
        struct cgroup_psi psi = {0};

        switch (kind) {
        case 'k':
                stats_parse_keys(text, keys, sizeof(keys) / sizeof(keys[0]), &numbers);
                break;
        case 'p':
                stats_parse_psi(text, &psi);
                require(psi.some.avg10 >= 0 && psi.full.avg300 >= 0);
                break;
        case 'h':
                if (stats_parse_hugetlb_name(text, ".current", page_size))
                        require(strlen(page_size) > 0 && !strchr(page_size, '.'));
                break;
        default:
                parse_rows(kind, text, arena);
                break;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct arena *arena;
        char *text;

        if (size < 1 || size > TEXT_MAX)
                return 0;
        text = calloc(1, size);
        arena = arena_new(ARENA_BYTES);
        require(text && arena);
        memcpy(text, data + 1, size - 1);
        parse((char)data[0], text, arena);
        arena_free(arena);
        free(text);
        return 0;
}
