/* SPDX-License-Identifier: Apache-2.0
 *
 * See exec_stream.h.
 */
#include "cmd/belay/exec_stream.h"

#include <belay/v1/belay.pb-c.h>
#include <google/protobuf/any.pb-c.h>
#include <string.h>

#include "cmd/belay/dialog.h"
#include "cmd/belay/spec.h"
#include "cmd/belay/terminal.h"

int exec_stream(const struct args *args, const struct container *c, const char *exec_id,
                const char *json, const struct ttrpc_call_options *options, int *ret_status,
                struct error *err)
{
        Belay__V1__ExecStreamRequest request = BELAY__V1__EXEC_STREAM_REQUEST__INIT;
        Belay__V1__ExecStart start = BELAY__V1__EXEC_START__INIT;
        Google__Protobuf__Any spec = GOOGLE__PROTOBUF__ANY__INIT;
        struct dialog_config config = {
                .loop = c->loop,
                .task = c->task,
                .wire = &dialog_wire_exec,
                .start = &request.base,
                .options = options,
                .terminal = true,
                .input = true,
                .ends_input = true,
                .owns_process = true,
        };
        struct dialog_end end;
        uint16_t width = 0;
        uint16_t height = 0;

        (void)terminal_size(&width, &height);
        spec.type_url = (char *)SPEC_PROCESS_TYPE;
        spec.value.data = (uint8_t *)json;
        spec.value.len = strlen(json);
        start.id = (char *)args->id;
        start.exec_id = (char *)exec_id;
        start.spec = &spec;
        start.terminal = true;
        start.stdin = true;
        start.width = width;
        start.height = height;
        request.request_case = BELAY__V1__EXEC_STREAM_REQUEST__REQUEST_START;
        request.start = &start;
        if (dialog_run(&config, &end, err) < 0)
                return -1;
        *ret_status = end.status;
        return 0;
}
