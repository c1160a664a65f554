/* SPDX-License-Identifier: Apache-2.0
 *
 * Starting a logging program: its arguments, its environment, its descriptors. Only logger.c uses
 * it.
 */
#pragma once

#include <sys/types.h>

#include "pkg/base/arena.h"
#include "pkg/base/error.h"
#include "pkg/io/ring.h"
#include "pkg/io/uri.h"
#include "pkg/log/log.h"

#include "belay/state/v1/io.pb-c.h"

struct logger_program;

/*
 * Of a binary: the URI's path with each parameter's key and value as arguments, and CONTAINER_ID
 * and CONTAINER_NAMESPACE for all of its environment. Of log://: the writer of that log;
 * INVALID_ARGUMENT names a bad parameter.
 */
int logger_program_new(struct logger_program **ret, const struct io_uri *uri, const char *id,
                       const char *runtime_namespace, struct error *err);
struct logger_program *logger_program_free(struct logger_program *program);

/* For another image of this process, and there: the memory that the writer of a log shares with us
 * takes the place of the new program's own. */
int logger_program_save(const struct logger_program *program, struct arena *arena,
                        Belay__State__V1__Logger *ret, struct error *err);
int logger_program_adopt(struct logger_program *program, const Belay__State__V1__Logger *m,
                         struct error *err);

const char *logger_program_name(const struct logger_program *program);

/* NULL for a binary. */
struct io_ring *logger_program_ring(const struct logger_program *program);
const struct log_counters *logger_program_counters(const struct logger_program *program);
const struct log_config *logger_program_log(const struct logger_program *program);

/*
 * Forks; streams are the pipes' reading ends, which it opens anew. The pid, or -1. *ret_ready reads
 * what the program writes to its descriptor 5, until that is closed; *ret_status holds an errno
 * when it could not be executed, or not open its log, at the latest when *ret_ready ends. Both are
 * non-blocking.
 */
pid_t logger_program_start(struct logger_program *program, const int streams[2], int *ret_ready,
                           int *ret_status, struct error *err);

/* -1 and that reason, if *ret_status of above says so. */
int logger_program_check(const struct logger_program *program, int status_fd, struct error *err);
