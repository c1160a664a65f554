/* SPDX-License-Identifier: Apache-2.0
 *
 * Internal to pkg/oci: is a text JSON, by the letter of RFC 8259, and unambiguous?
 */
#pragma once

#include <stddef.h>

#include "pkg/base/error.h"

/*
 * Beyond the grammar it refuses what two readers could understand in two ways: keys given twice (in
 * whatever spelling), NUL and lone surrogates in strings, text that is not UTF-8, integers that fit
 * neither int64_t nor uint64_t. Also what is deeper or larger than the limits of LIMIT_JSON_*.
 *
 * name: what the text is called when there is no path to name ("config.json"). prefix: the name of
 * the topmost value in paths, "" if its properties stand for themselves.
 */
int json_check(const char *text, size_t len, const char *name, const char *prefix,
               struct error *err);
