/* SPDX-License-Identifier: Apache-2.0
 *
 * Starting a logging program: its arguments, its environment, its descriptors. Only logger.c uses
 * it.
 */
#pragma once

#include <sys/types.h>

#include "pkg/base/error.h"
#include "pkg/io/uri.h"

struct logger_program;

/* The URI's path with each parameter's key and value as arguments, and CONTAINER_ID and
 * CONTAINER_NAMESPACE for all of its environment. */
int logger_program_new(struct logger_program **ret, const struct io_uri *uri, const char *id,
                       const char *runtime_namespace, struct error *err);
struct logger_program *logger_program_free(struct logger_program *program);
const char *logger_program_name(const struct logger_program *program);

/*
 * Forks; streams are the pipes' reading ends. The pid, or -1. *ret_ready reads what the program
 * writes to its descriptor 5, until that is closed; *ret_status holds an errno when it could not be
 * executed, at the latest when *ret_ready ends. Both are non-blocking.
 */
pid_t logger_program_start(const struct logger_program *program, const int streams[2],
                           int *ret_ready, int *ret_status, struct error *err);

/* -1 and the reason why it could not be executed, if *ret_status of above says so. */
int logger_program_check(const struct logger_program *program, int status_fd, struct error *err);
