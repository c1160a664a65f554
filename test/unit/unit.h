/* SPDX-License-Identifier: Apache-2.0
 *
 * cmocka with what it needs before it, for every unit test.
 */
#pragma once

/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#define UNIT_COUNT(a) (sizeof(a) / sizeof((a)[0]))
