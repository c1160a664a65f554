/* SPDX-License-Identifier: Apache-2.0
 *
 * What an idle shim keeps in memory, of which there may be hundreds on a host.
 */
#pragma once

/* Once, before anything is allocated. */
void memory_tune(void);

/*
 * Gives back what is not in use: free heap, and the pages of our own text, which come back from the
 * page cache as they are needed. Cheap enough to be called after each burst of work.
 */
void memory_trim(void);
