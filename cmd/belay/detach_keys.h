/* SPDX-License-Identifier: Apache-2.0
 *
 * The keys with which one leaves a container that goes on running: a few bytes, found in what is
 * typed. Pure. What may be the beginning of them is held back until the next key tells, and is
 * passed on if it was not.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pkg/base/error.h"

#define DETACH_KEYS_DEFAULT "ctrl-p,ctrl-q"

enum { DETACH_KEYS_MAX = 16 };

struct detach_keys {
        uint8_t keys[DETACH_KEYS_MAX];
        size_t n_keys;    /* 0: none, nothing is looked for */
        size_t n_matched; /* held back */
};

/* Single characters and ctrl-X (a to z, @, [, \, ], ^, _), separated by commas; "none" for none. */
int detach_keys_parse(const char *text, struct detach_keys *ret, struct error *err);

/*
 * Takes len typed bytes and gives those that are to be passed on: out has room for len +
 * DETACH_KEYS_MAX. True when the keys have come; what follows them is dropped.
 */
bool detach_keys_filter(struct detach_keys *keys, const uint8_t *in, size_t len, uint8_t *out,
                        size_t *ret_len);
