/* SPDX-License-Identifier: Apache-2.0
 *
 * See frames.h. We are built with frame pointers, the C library is not: within abort(3), say, the
 * register holds anything. Then the first thing on the stack that looks like a frame of ours is
 * where the chain begins: a frame pointer that leads up the stack to another one, with a return
 * address of ours beside each.
 */
#include "cmd/containerd-shim-belay-v2/frames.h"

#include <stdbool.h>
#include <sys/auxv.h>
#include <ucontext.h>

/* Made by the linker: this executable's text. */
extern const char __executable_start[] __attribute__((visibility("hidden")));
extern const char etext[] __attribute__((visibility("hidden")));

/* Where the C library's frames end, and ours begin, at the latest. */
enum { LOOK_BYTES = 16 << 10 };

/* As a function's prologue leaves it, on x86-64 as on arm64. */
struct frame {
        uintptr_t next; /* the caller's */
        uintptr_t ret;
};

struct registers {
        uintptr_t pc;
        uintptr_t sp;
        uintptr_t fp;
};

static bool registers_of(const void *context, struct registers *ret)
{
        const ucontext_t *uc = context;

#if defined(__x86_64__)
        *ret = (struct registers){
                .pc = (uintptr_t)uc->uc_mcontext.gregs[REG_RIP],
                .sp = (uintptr_t)uc->uc_mcontext.gregs[REG_RSP],
                .fp = (uintptr_t)uc->uc_mcontext.gregs[REG_RBP],
        };
        return true;
#elif defined(__aarch64__)
        *ret = (struct registers){
                .pc = (uintptr_t)uc->uc_mcontext.pc,
                .sp = (uintptr_t)uc->uc_mcontext.sp,
                .fp = (uintptr_t)uc->uc_mcontext.regs[29],
        };
        return true;
#else
        (void)uc;
        (void)ret;
        return false;
#endif
}

static bool is_text(uintptr_t address)
{
        return address >= (uintptr_t)__executable_start && address < (uintptr_t)etext;
}

/* Above all frames lies what the kernel has left there: these bytes, among others. */
static uintptr_t stack_end(void)
{
        return (uintptr_t)getauxval(AT_RANDOM);
}

/* A stack is read here as it is, between its variables, too. */
#define READS_STACK __attribute__((no_sanitize("address")))

/* The frame at fp, above sp; NULL if there is none. */
READS_STACK static const struct frame *frame_at(uintptr_t fp, uintptr_t sp)
{
        uintptr_t end = stack_end();
        const struct frame *frame = (const void *)fp;

        if (fp < sp || fp % sizeof(uintptr_t) != 0 || end < sizeof(*frame) ||
            fp > end - sizeof(*frame))
                return NULL;
        return is_text(frame->ret) ? frame : NULL;
}

READS_STACK static const struct frame *frame_first(const struct registers *r)
{
        const struct frame *frame = frame_at(r->fp, r->sp);

        if (frame)
                return frame;
        for (uintptr_t at = r->sp; at < r->sp + LOOK_BYTES; at += sizeof(uintptr_t)) {
                frame = frame_at(at, r->sp);
                if (frame && frame_at(frame->next, at + sizeof(*frame)))
                        return frame;
        }
        return NULL;
}

READS_STACK size_t frames_find(const void *context, uintptr_t *ret, size_t max)
{
        const struct frame *frame = NULL;
        struct registers r;
        size_t n = 0;

        if (!registers_of(context, &r))
                return 0;
        if (is_text(r.pc) && n < max)
                ret[n++] = r.pc;
        if (r.sp % sizeof(uintptr_t) == 0 && r.sp < stack_end())
                frame = frame_first(&r);
        while (frame && n < max) {
                ret[n++] = frame->ret;
                frame = frame_at(frame->next, (uintptr_t)(frame + 1));
        }
        return n;
}
