/* SPDX-License-Identifier: Apache-2.0
 *
 * Points in time as people write them: --since and --until of `belay logs`. Pure.
 */
#pragma once

#include <time.h>

#include "pkg/base/error.h"

/*
 * One of
 * - a date and time of RFC 3339, with up to nine digits of a second: 2026-11-28T13:35:39.5+01:00.
 *   Without an offset it is UTC; seconds, or the whole time of day, may be missing;
 * - seconds since 1970, with or without a fraction: 1795872939.25;
 * - how long ago: 90s, 10m, 1h30m, 2d, 1.5h; units are d, h, m, s, ms.
 */
int moment_parse(const char *text, const struct timespec *now, struct timespec *ret,
                 struct error *err);
