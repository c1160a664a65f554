/* SPDX-License-Identifier: Apache-2.0
 *
 * The way to where a fatal signal has struck, for its handler: no allocation, no lock, no system
 * call, and nothing to be set up before, which is why it is not backtrace(3).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * Fills in addresses within this executable's text: where the signal has struck, if that is there,
 * and the return addresses behind it, as far as they can be found. context: the handler's third
 * argument. Only the thread's first stack is looked at, and only what lies in it. Returns how many.
 */
size_t frames_find(const void *context, uintptr_t *ret, size_t max);
