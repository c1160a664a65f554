/* SPDX-License-Identifier: Apache-2.0
 *
 * A record on disk that may be anything. What is accepted has strings that end and
 * numbers in range.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "shim/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct shim_record record;

        if (!shim_record_parse((const char *)data, size, &record))
                return 0;
        assert(memchr(record.id, 0, sizeof(record.id)));
        assert(memchr(record.exec_id, 0, sizeof(record.exec_id)));
        assert(record.pid >= 0);
        assert(record.started_at.tv_nsec >= 0 && record.started_at.tv_nsec < 1000000000);
        assert(record.exited_at.tv_nsec >= 0 && record.exited_at.tv_nsec < 1000000000);
        assert(record.signal >= 0 && record.signal <= 64);
        assert((unsigned)record.reason < _RECORD_REASON_MAX);
        return 0;
}
