/* SPDX-License-Identifier: Apache-2.0
 *
 * Dispositions and masks of this process. What has to be acted upon goes through a signalfd of
 * pkg/loop; no handler is ever installed here.
 */
#pragma once

void signal_ignore(int signo);

/* Default dispositions and an empty mask, for a child before its execve. */
void signals_reset(void);
