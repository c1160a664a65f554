/* SPDX-License-Identifier: Apache-2.0
 *
 * The error value that crosses module boundaries. It is a value, not an allocation: it works when
 * memory is gone and cannot leak.
 *
 * Set it once where the failure happens, prefix it while it travels, log it once where it ends.
 * errno never chooses the status code: containerd reads NOT_FOUND as "the task is gone", and a
 * binary missing from a rootfs is ENOENT too. Texts are lower case, `verb 'object': reason`.
 */
#pragma once

#include <stddef.h>

/* gRPC status numbers, which ttrpc carries in google.rpc.Status.code. */
enum status {
        STATUS_OK = 0,
        STATUS_CANCELED = 1,
        STATUS_UNKNOWN = 2,
        STATUS_INVALID_ARGUMENT = 3,
        STATUS_DEADLINE_EXCEEDED = 4,
        STATUS_NOT_FOUND = 5,
        STATUS_ALREADY_EXISTS = 6,
        STATUS_PERMISSION_DENIED = 7,
        STATUS_RESOURCE_EXHAUSTED = 8,
        STATUS_FAILED_PRECONDITION = 9,
        STATUS_ABORTED = 10,
        STATUS_OUT_OF_RANGE = 11,
        STATUS_UNIMPLEMENTED = 12,
        STATUS_INTERNAL = 13,
        STATUS_UNAVAILABLE = 14,
        STATUS_DATA_LOSS = 15,
        STATUS_UNAUTHENTICATED = 16,
};

enum { ERROR_TEXT_MAX = 512 };

struct error {
        int code;   /* enum status; STATUS_OK in a fresh error */
        int errnum; /* errno of the failed call, or 0 */
        char msg[ERROR_TEXT_MAX];
};

#define ERROR_INIT ((struct error){.code = STATUS_OK})

/* Each of the setters returns -1, so that a failure is one statement. err may be NULL. A text that
 * is too long is cut, never at the cost of the terminating NUL. */
int error_set(struct error *err, int code, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));

/* STATUS_UNKNOWN and the text of errnum (positive) after a colon. */
int error_errno(struct error *err, int errnum, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));

/* RESOURCE_EXHAUSTED, "no memory": for a helper whose caller says what for. */
int error_no_memory(struct error *err);

/* Puts "prefix: " before the text that is there, keeping code and errnum. */
int error_prefix(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* clang's analyzer looks into one file at a time, and would think that a setter can return 0. */
#ifdef __clang_analyzer__
#define error_set(...)       (error_set(__VA_ARGS__), -1)
#define error_errno(...)     (error_errno(__VA_ARGS__), -1)
#define error_no_memory(err) (error_no_memory(err), -1)
#define error_prefix(...)    (error_prefix(__VA_ARGS__), -1)
#endif

/* "not found" for STATUS_NOT_FOUND and so on; never NULL. */
const char *status_name(int code);
