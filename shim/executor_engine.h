/* SPDX-License-Identifier: Apache-2.0
 *
 * The executor that stands on pkg/engine: see executor.h.
 */
#pragma once

#include "pkg/engine/engine.h"

#include "shim/executor.h"

/* engine is borrowed and outlives the executor. Warnings of the engine go to the log. */
void executor_engine_init(struct executor *executor, struct engine *engine);
