/* SPDX-License-Identifier: Apache-2.0
 *
 * The log: one line per event in logrus' text format, which containerd copies into its own. It
 * never blocks and never fails: a line that the FIFO has no room for is dropped and counted, and
 * the count comes with the next line that fits. Nobody's container waits for a log.
 *
 * The sink is the one mutable global of the program (see the house rules), since warnings arise
 * where no object is at hand.
 */
#pragma once

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR, _LOG_LEVEL_MAX };

/*
 * fd is borrowed, should be O_NONBLOCK, and -1 drops everything; lines below min are dropped. The
 * strings are copied and become the fields `id`, `namespace` and `runtime` of every line; NULL
 * leaves a field away.
 */
void log_open(int fd, enum log_level min, const char *id, const char *runtime_namespace,
              const char *runtime);

/* exec_id may be NULL or "". The text is lower case, without a full stop. */
void log_write(enum log_level level, const char *exec_id, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));

#define log_debug(...)   log_write(LOG_DEBUG, NULL, __VA_ARGS__)
#define log_info(...)    log_write(LOG_INFO, NULL, __VA_ARGS__)
#define log_warning(...) log_write(LOG_WARNING, NULL, __VA_ARGS__)
#define log_error(...)   log_write(LOG_ERROR, NULL, __VA_ARGS__)
