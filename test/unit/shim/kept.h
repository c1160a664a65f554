/* SPDX-License-Identifier: Apache-2.0
 *
 * What another process image would find in the vault.
 */
#pragma once

#include "test/unit/shim/harness.h"

/* Fails unless what was written little by little is what would be written now as a whole. A
 * harness without a server is right. */
void kept_check(struct harness *h);
