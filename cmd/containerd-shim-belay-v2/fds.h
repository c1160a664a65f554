/* SPDX-License-Identifier: Apache-2.0
 *
 * All descriptors of this process, without an allocation: glibc's readdir(3) makes one, and a
 * handler of a fatal signal may not.
 */
#pragma once

enum { FIRST_FD = 3 }; /* above stdio */

/* Calls fn for every open descriptor from FIRST_FD on; it may close it. */
void for_each_fd(void (*fn)(int fd, void *userdata), void *userdata);

/* A number as it is written in a command line and in /proc; -1 if it is none. */
int parse_fd(const char *text);
