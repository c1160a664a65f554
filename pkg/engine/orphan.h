/* SPDX-License-Identifier: Apache-2.0
 *
 * How a process that is not our child has ended.
 */
#pragma once

#include <sys/types.h>

#include "pkg/reaper/reaper.h"

/* Of a process whose pidfd has become readable. ret is filled in any case: what cannot be learned
 * is CLD_EXITED with ENGINE_STATUS_UNKNOWN. */
void orphan_read_exit(pid_t pid, int pidfd, struct reaper_exit *ret);
