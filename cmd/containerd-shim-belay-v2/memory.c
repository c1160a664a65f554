/* SPDX-License-Identifier: Apache-2.0
 *
 * Heap, stack and text of the daemon. glibc's defaults suit large programs: it keeps 128 KiB of
 * free heap and asks for 128 KiB more than it needs. Text and constants of what has run once
 * (start-up, a Create) stay in the resident set for ever, unless they are dropped: they are clean
 * pages of the file, and come back from the page cache at the next use, sixteen with each fault.
 */
#include "cmd/containerd-shim-belay-v2/memory.h"

#include <elf.h>
#include <link.h>
#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
        TRIM_BYTES = 64 * 1024,  /* free heap that is kept at the top */
        MMAP_BYTES = 64 * 1024,  /* from this size on, pages of their own */
        PAD_BYTES = 16 * 1024,   /* asked for beyond what is needed */
        STACK_BYTES = 256 * 1024 /* as deep as the stack may have been */
};

/* Made by the linker: this executable's ELF header, where it is mapped. An array without a size,
 * since program headers and more follow. */
extern const char __ehdr_start[] __attribute__((visibility("hidden")));

void memory_tune(void)
{
        (void)mallopt(M_TRIM_THRESHOLD, TRIM_BYTES);
        (void)mallopt(M_MMAP_THRESHOLD, MMAP_BYTES);
        (void)mallopt(M_TOP_PAD, PAD_BYTES);
        (void)mallopt(M_ARENA_MAX, 1);
}

/* Segments that can be written to hold relocated pointers, also where they are read-only by now:
 * only the others are as in the file. */
static void drop_text(uintptr_t page)
{
        const ElfW(Ehdr) *ehdr = (const void *)__ehdr_start;
        const ElfW(Phdr) *phdr = (const void *)(__ehdr_start + ehdr->e_phoff);
        uintptr_t bias = 0;

        for (int i = 0; i < ehdr->e_phnum; i++) {
                if (phdr[i].p_type == PT_LOAD && phdr[i].p_offset == 0)
                        bias = (uintptr_t)__ehdr_start - phdr[i].p_vaddr;
        }
        /* From the last one to the first, which holds these headers. */
        for (int i = ehdr->e_phnum - 1; i >= 0; i--) {
                uintptr_t start = (bias + phdr[i].p_vaddr) & ~(page - 1);
                uintptr_t end = bias + phdr[i].p_vaddr + phdr[i].p_filesz;

                if (phdr[i].p_type == PT_LOAD && !(phdr[i].p_flags & PF_W))
                        (void)madvise((void *)start, end - start, MADV_DONTNEED);
        }
}

/* What lies below our frame is dead. The part that is not mapped gives ENOMEM, after the rest has
 * been done. */
static void drop_stack(uintptr_t page)
{
        uintptr_t end = ((uintptr_t)__builtin_frame_address(0) & ~(page - 1)) - page;

        (void)madvise((void *)(end - STACK_BYTES), STACK_BYTES, MADV_DONTNEED);
}

void memory_trim(void)
{
        uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

        (void)malloc_trim(0);
        drop_stack(page);
        drop_text(page);
}
