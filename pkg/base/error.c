/* SPDX-License-Identifier: Apache-2.0
 *
 * Error values: see error.h for the rules.
 */
#include "pkg/base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Where clang's analyzer reads this, they are macros, too. */
#undef error_set
#undef error_errno
#undef error_no_memory
#undef error_prefix

static void __attribute__((format(printf, 4, 0)))
error_vformat(struct error *err, int code, int errnum, const char *fmt, va_list ap)
{
        err->code = code;
        err->errnum = errnum;
        if (vsnprintf(err->msg, sizeof(err->msg), fmt, ap) < 0)
                err->msg[0] = '\0';
}

int error_set(struct error *err, int code, const char *fmt, ...)
{
        va_list ap;

        if (!err)
                return -1;
        va_start(ap, fmt);
        error_vformat(err, code, 0, fmt, ap);
        va_end(ap);
        return -1;
}

int error_no_memory(struct error *err)
{
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory");
}

int error_errno(struct error *err, int errnum, const char *fmt, ...)
{
        size_t used;
        va_list ap;

        if (!err)
                return -1;
        va_start(ap, fmt);
        error_vformat(err, STATUS_UNKNOWN, errnum, fmt, ap);
        va_end(ap);
        used = strlen(err->msg);
        (void)snprintf(err->msg + used, sizeof(err->msg) - used, ": %s", strerror(errnum));
        return -1;
}

int error_prefix(struct error *err, const char *fmt, ...)
{
        char rest[ERROR_TEXT_MAX];
        size_t used;
        va_list ap;

        if (!err)
                return -1;
        memcpy(rest, err->msg, sizeof(rest));
        va_start(ap, fmt);
        error_vformat(err, err->code, err->errnum, fmt, ap);
        va_end(ap);
        used = strlen(err->msg);
        (void)snprintf(err->msg + used, sizeof(err->msg) - used, ": %s", rest);
        return -1;
}

const char *status_name(int code)
{
        static const char *const names[] = {
                [STATUS_OK] = "ok",
                [STATUS_CANCELED] = "canceled",
                [STATUS_UNKNOWN] = "unknown",
                [STATUS_INVALID_ARGUMENT] = "invalid argument",
                [STATUS_DEADLINE_EXCEEDED] = "deadline exceeded",
                [STATUS_NOT_FOUND] = "not found",
                [STATUS_ALREADY_EXISTS] = "already exists",
                [STATUS_PERMISSION_DENIED] = "permission denied",
                [STATUS_RESOURCE_EXHAUSTED] = "resource exhausted",
                [STATUS_FAILED_PRECONDITION] = "failed precondition",
                [STATUS_ABORTED] = "aborted",
                [STATUS_OUT_OF_RANGE] = "out of range",
                [STATUS_UNIMPLEMENTED] = "not implemented",
                [STATUS_INTERNAL] = "internal",
                [STATUS_UNAVAILABLE] = "unavailable",
                [STATUS_DATA_LOSS] = "data loss",
                [STATUS_UNAUTHENTICATED] = "unauthenticated",
        };

        if (code < 0 || (size_t)code >= sizeof(names) / sizeof(names[0]))
                return "unknown";
        return names[code];
}
