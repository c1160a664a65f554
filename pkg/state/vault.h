/* SPDX-License-Identifier: Apache-2.0
 *
 * What must outlive a process image: a memfd that goes through execve(2). It holds records, and
 * regions, which their owners lay out and change in place.
 *
 * A record is a list of pieces: it is put as one piece, and others are added to it, until it is put
 * anew. So what has changed a little need not be written as a whole. What the pieces mean together
 * is their owner's to know.
 *
 * At every instruction the vault is whole: a record is put beside the old one, a piece is written
 * behind the last, and either becomes valid by one atomic store. So whoever finds the vault after a
 * crash finds what was there before the last call, or after it. The vault knows nothing of what is
 * in it. Its memory is the file's, and only pages that were written cost any; it is not in a fork's
 * address space, so that no child can harm it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pkg/base/error.h"

struct vault;

/* Numbers are a part of the layout: never change one, add at the end. */
enum vault_record {
        VAULT_SHIM = 0,
        _VAULT_RECORD_MAX,
};

enum vault_region {
        VAULT_CONNS = 0,
        VAULT_EXITS = 1,
        VAULT_EVENTS = 2, /* the connection that events go over */
        VAULT_QUEUE = 3,  /* events that are in no file */
        _VAULT_REGION_MAX,
};

enum {
        VAULT_RECORD_BYTES_MAX = 8 << 20, /* some 2 KiB for each of LIMIT_EXECS */
        VAULT_REASON_MAX = 256,           /* with its NUL */
        VAULT_REEXECS_MAX = 5,            /* within VAULT_REEXECS_SPAN_S */
        VAULT_REEXECS_SPAN_S = 10,
        VAULT_QUEUE_MINOR = 1, /* since which there is VAULT_QUEUE */
};

int vault_new(struct vault **ret, struct error *err);

/*
 * The vault of the process image before, whose descriptor is taken, on success; it becomes CLOEXEC.
 * All that the vault itself relies on is checked, so it may be anything: INVALID_ARGUMENT for what
 * is no vault or was damaged, UNIMPLEMENTED for a layout of another version. A region's contents
 * are its owner's to check. Counts one generation up.
 */
int vault_open_take(struct vault **ret, int fd, struct error *err);

/*
 * This image goes on with it, for good. What a vault of a higher minor number has, and this program
 * does not know, is forgotten: it would be out of date when a program comes that knows it. Until
 * then it is still there for the image before.
 */
void vault_own(struct vault *vault);

/*
 * There is something in it that a program of a lower minor number than this would lose: none of
 * those can go on with it, and each is told so when it is tried out. 0: any can.
 */
void vault_set_needed(struct vault *vault, uint32_t minor);

/* Of the program that has owned it last. */
uint32_t vault_minor(const struct vault *vault);

/* Unmaps and closes. */
struct vault *vault_free(struct vault *vault);

/* A vault of its own with the same contents, for another process to look at: a CLOEXEC descriptor,
 * which is the caller's. */
int vault_copy(const struct vault *vault, int *ret_fd, struct error *err);

/* How many process images have opened it. */
uint64_t vault_generation(const struct vault *vault);

/* Replaces a record, by one piece. RESOURCE_EXHAUSTED above VAULT_RECORD_BYTES_MAX: then the old
 * one stays. */
int vault_put(struct vault *vault, enum vault_record which, const void *data, size_t len,
              struct error *err);

/* One more piece of a record that was put. RESOURCE_EXHAUSTED when there is no room for it. */
int vault_add(struct vault *vault, enum vault_record which, const void *data, size_t len,
              struct error *err);

/* The bytes that the pieces of a record take, some more for each than it has; 0: never put. */
size_t vault_size(const struct vault *vault, enum vault_record which);

/*
 * The pieces one by one, in their order: *at is 0 for the first, and is then the vault's. 1 and the
 * piece, borrowed until the record is put again; 0 behind the last; -1 with NOT_FOUND when it was
 * never put, or DATA_LOSS when its checksum is wrong.
 */
int vault_next(const struct vault *vault, enum vault_record which, size_t *at, const void **ret,
               size_t *ret_len, struct error *err);

/* Zeroed in a new vault, page-aligned, and good until vault_free(). */
void *vault_region(struct vault *vault, enum vault_region which, size_t *ret_size);

/* ---- What may be called from a signal handler, too: no lock, no allocation, no loop ---- */

/* Borrowed. CLOEXEC: whoever executes the next image takes that off. */
int vault_fd(const struct vault *vault);

/* Counts a re-exec at now_ns (CLOCK_MONOTONIC): how many there were within VAULT_REEXECS_SPAN_S,
 * this one included; 0 when there were VAULT_REEXECS_MAX already: then it is not counted. */
unsigned vault_count_reexec(struct vault *vault, uint64_t now_ns);

/* The same of a vault that was not opened, for want of memory perhaps: 0 also if it is none. */
unsigned vault_count_reexec_of(int fd, uint64_t now_ns);

/* Why the next image begins, or why one was left again; cut at VAULT_REASON_MAX. */
void vault_set_reason(struct vault *vault, const char *text);

/* Copies it; "" when there was none. */
void vault_reason(const struct vault *vault, char ret[static VAULT_REASON_MAX]);
