/* SPDX-License-Identifier: Apache-2.0
 *
 * Heap and text of the daemon. glibc's defaults suit large programs: it keeps 128 KiB of free heap
 * and asks for 128 KiB more than it needs. And the start-up code, which is never run again, would
 * stay in our resident set for as long as the container runs.
 */
#include "cmd/containerd-shim-belay-v2/memory.h"

#include <malloc.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
        TRIM_BYTES = 64 * 1024, /* free heap that is kept at the top */
        MMAP_BYTES = 64 * 1024, /* from this size on, pages of their own */
        PAD_BYTES = 16 * 1024,  /* asked for beyond what is needed */
};

/* Defined by the linker: the bounds of what is mapped r-x in a static executable. */
extern const char __executable_start[];
extern const char etext[];

void memory_tune(void)
{
        (void)mallopt(M_TRIM_THRESHOLD, TRIM_BYTES);
        (void)mallopt(M_MMAP_THRESHOLD, MMAP_BYTES);
        (void)mallopt(M_TOP_PAD, PAD_BYTES);
        (void)mallopt(M_ARENA_MAX, 1);
}

void memory_trim(void)
{
        (void)malloc_trim(0);
}
