/* SPDX-License-Identifier: Apache-2.0
 *
 * Points at which a test lets this process die, or stand still: between two steps that must not be
 * torn. They are compiled in by the build option `chaos` alone (docs/reliability.md); otherwise a
 * CHAOS_POINT is nothing, and a test looks that no release has one.
 *
 * The test says what is to happen in a file that all processes of the shim map, forks and later
 * images too; its name is in the environment variable BELAY_CHAOS. test/chaos/plan.py knows the
 * layout. The same file tells test/chaos/faults.c which call of the C library is to fail.
 */
#pragma once

#ifdef BELAY_CHAOS

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define CHAOS_VARIABLE "BELAY_CHAOS"

enum { CHAOS_NAME_MAX = 32, CHAOS_LOG_MAX = 8192, CHAOS_TIMES_MAX = 1000000 };

/*
 * The `at`th time that it is passed by a process that counts, and `times - 1` times more, each
 * `every` later. The upper half of n and at is how often it was armed: who is just passing it then
 * counts as before or as behind it, and not as both.
 */
struct chaos_trigger {
        _Atomic uint64_t n;  /* how often it was passed */
        _Atomic uint64_t at; /* 0: never */
        uint64_t every;
        uint64_t times;
        int32_t only; /* a pid; 0: any */
        int32_t but;  /* a pid that does not count; 0: none */
        _Atomic uint32_t n_fired;
        int32_t value; /* a signal; the error number of a call; a delay's milliseconds */
        char name[CHAOS_NAME_MAX];  /* one alone counts; "": all do */
        char fired[CHAOS_NAME_MAX]; /* which it was, the last time */
        char log[CHAOS_LOG_MAX][CHAOS_NAME_MAX];
};

struct chaos_plan {
        struct chaos_trigger
                points; /* at which it dies by a signal of its own doing; 0: it lives */
        struct chaos_trigger faults; /* calls that fail */
        struct chaos_trigger delays; /* points at which it stands still */
        int64_t realtime_ns;         /* what CLOCK_REALTIME is wrong by */
};

/* True if it is now. */
bool chaos_trigger_pass(struct chaos_trigger *trigger, const char *name);

/* The plan, or NULL. */
struct chaos_plan *chaos_plan_open(void);

void chaos_point(const char *name);

#define CHAOS_POINT(name) chaos_point(name)

#else

#define CHAOS_POINT(name) ((void)0)

#endif
