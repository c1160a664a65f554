/* SPDX-License-Identifier: Apache-2.0
 *
 * Ownership of local variables. Every owning local carries one of these attributes and is
 * initialised on its declaration line; what leaves the scope alive leaves through TAKE_*.
 */
#pragma once

#include <dirent.h>
#include <stdlib.h>

#include "pkg/base/fd.h"

#define _cleanup_(fn) __attribute__((cleanup(fn)))

/* Defines cleanup_fn_p, the cleanup function for a pointer that fn() destroys (fn accepts NULL). */
#define CLEANUP_DEFINE(type, fn)            \
        static inline void fn##_p(type **p) \
        {                                   \
                if (*p)                     \
                        fn(*p);             \
        }

static inline void cleanup_free_p(void *p)
{
        free(*(void **)p);
}

static inline void cleanup_close_p(int *fd)
{
        fd_close(*fd);
}

static inline void cleanup_closedir_p(DIR **dir)
{
        if (*dir)
                closedir(*dir);
}

#define _cleanup_free_     _cleanup_(cleanup_free_p)
#define _cleanup_close_    _cleanup_(cleanup_close_p)
#define _cleanup_closedir_ _cleanup_(cleanup_closedir_p)

/* Moves a pointer out of its owner, which is left NULL. The argument is evaluated once. */
#define TAKE_PTR(p)                            \
        ({                                     \
                __typeof__(p) *_from = &(p);   \
                __typeof__(p) _taken = *_from; \
                *_from = NULL;                 \
                _taken;                        \
        })

/* Moves a descriptor out of its owner, which is left -1. The argument is evaluated once. */
#define TAKE_FD(fd)                  \
        ({                           \
                int *_from = &(fd);  \
                int _taken = *_from; \
                *_from = -1;         \
                _taken;              \
        })
