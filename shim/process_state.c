/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of process_state.h. A cell that is not there cannot be reached: it gives INTERNAL, and
 * a test walks all cells.
 */
#include "shim/process_state.h"

#include <assert.h>

enum { WHY_MAX = 56 };

/* The text is in here, not pointed to: of a table with addresses each shim has its own copy. */
struct cell {
        enum { CELL_NONE, CELL_GO, CELL_LATER, CELL_NO } what;
        enum process_state next;
        int code;
        char why[WHY_MAX];
};

/* clang-format off */
#define GO(state)      {.what = CELL_GO, .next = PROCESS_##state}
#define LATER          {.what = CELL_LATER}
#define NO(status, text) {.what = CELL_NO, .code = STATUS_##status, .why = text}
#define WRONG(text)    NO(FAILED_PRECONDITION, text)
#define FINISHED       NO(NOT_FOUND, "process already finished")

static const struct cell init_cells[_PROCESS_STATE_MAX][_PROCESS_VERB_MAX] = {
        [PROCESS_CREATED] = {
                [VERB_START] = GO(STARTING),
                [VERB_KILL] = GO(CREATED),
                [VERB_KILL_ALL] = GO(CREATED),
                [VERB_EXEC] = GO(CREATED),
                [VERB_EXEC_PAUSED] = GO(CREATED),
                [VERB_RESIZE] = GO(CREATED),
                [VERB_CLOSE_IO] = GO(CREATED),
                [VERB_DELETE] = GO(DISCARDED),
                [VERB_PAUSE] = WRONG("cannot pause task in created state"),
                [VERB_RESUME] = WRONG("cannot resume task in created state"),
                [VERB_UPDATE] = GO(CREATED),
                [VERB_EXIT] = GO(STOPPED),
        },
        [PROCESS_STARTING] = {
                [VERB_START] = WRONG("cannot start a process that is being started"),
                [VERB_KILL] = GO(STARTING),
                [VERB_KILL_ALL] = GO(STARTING),
                [VERB_EXEC] = GO(STARTING),
                [VERB_EXEC_PAUSED] = GO(STARTING),
                [VERB_RESIZE] = GO(STARTING),
                [VERB_CLOSE_IO] = GO(STARTING),
                [VERB_DELETE] = LATER,
                [VERB_PAUSE] = LATER,
                [VERB_RESUME] = LATER,
                [VERB_UPDATE] = GO(STARTING),
                [VERB_STARTED] = GO(RUNNING),
                [VERB_START_FAILED] = GO(CREATED),
                [VERB_EXIT] = LATER,
        },
        [PROCESS_RUNNING] = {
                [VERB_START] = WRONG("cannot start a running process"),
                [VERB_KILL] = GO(RUNNING),
                [VERB_KILL_ALL] = GO(RUNNING),
                [VERB_EXEC] = GO(RUNNING),
                [VERB_EXEC_PAUSED] = GO(RUNNING),
                [VERB_RESIZE] = GO(RUNNING),
                [VERB_CLOSE_IO] = GO(RUNNING),
                [VERB_DELETE] = WRONG("cannot delete a running process"),
                [VERB_PAUSE] = GO(PAUSING),
                [VERB_RESUME] = WRONG("cannot resume a running process"),
                [VERB_UPDATE] = GO(RUNNING),
                [VERB_EXIT] = GO(STOPPED),
        },
        [PROCESS_PAUSING] = {
                [VERB_START] = WRONG("cannot start a running process"),
                [VERB_KILL] = GO(PAUSING),
                [VERB_KILL_ALL] = GO(PAUSING),
                [VERB_EXEC] = WRONG("cannot exec in a container that is being paused"),
                [VERB_EXEC_PAUSED] = GO(PAUSING),
                [VERB_RESIZE] = GO(PAUSING),
                [VERB_CLOSE_IO] = GO(PAUSING),
                [VERB_DELETE] = LATER,
                [VERB_PAUSE] = LATER,
                [VERB_RESUME] = LATER,
                [VERB_UPDATE] = GO(PAUSING),
                [VERB_PAUSED] = GO(PAUSED),
                [VERB_PAUSE_FAILED] = GO(RUNNING),
                [VERB_EXIT] = LATER,
        },
        [PROCESS_PAUSED] = {
                [VERB_START] = WRONG("cannot start a paused process"),
                [VERB_KILL] = GO(PAUSED),
                [VERB_KILL_ALL] = GO(PAUSED),
                [VERB_EXEC] = WRONG("cannot exec in a paused state"),
                [VERB_EXEC_PAUSED] = GO(PAUSED),
                [VERB_RESIZE] = GO(PAUSED),
                [VERB_CLOSE_IO] = GO(PAUSED),
                [VERB_DELETE] = WRONG("cannot delete a paused process"),
                [VERB_PAUSE] = WRONG("cannot pause a paused container"),
                [VERB_RESUME] = GO(RESUMING),
                [VERB_UPDATE] = GO(PAUSED),
        },
        [PROCESS_RESUMING] = {
                [VERB_START] = WRONG("cannot start a paused process"),
                [VERB_KILL] = GO(RESUMING),
                [VERB_KILL_ALL] = GO(RESUMING),
                [VERB_EXEC] = WRONG("cannot exec in a paused state"),
                [VERB_EXEC_PAUSED] = GO(RESUMING),
                [VERB_RESIZE] = GO(RESUMING),
                [VERB_CLOSE_IO] = GO(RESUMING),
                [VERB_DELETE] = LATER,
                [VERB_PAUSE] = LATER,
                [VERB_RESUME] = LATER,
                [VERB_UPDATE] = GO(RESUMING),
                [VERB_RESUMED] = GO(RUNNING),
                [VERB_RESUME_FAILED] = GO(PAUSED),
                [VERB_EXIT] = LATER,
        },
        [PROCESS_DISCARDED] = {
                [VERB_START] = WRONG("cannot start a process that is being deleted"),
                [VERB_KILL] = GO(DISCARDED),
                [VERB_KILL_ALL] = GO(DISCARDED),
                [VERB_EXEC] = WRONG("cannot exec in a container that is being deleted"),
                [VERB_EXEC_PAUSED] = WRONG("cannot exec in a container that is being deleted"),
                [VERB_RESIZE] = WRONG("cannot resize a container that is being deleted"),
                [VERB_CLOSE_IO] = GO(DISCARDED),
                [VERB_DELETE] = LATER,
                [VERB_PAUSE] = WRONG("cannot pause a container that is being deleted"),
                [VERB_RESUME] = WRONG("cannot resume a container that is being deleted"),
                [VERB_UPDATE] = WRONG("cannot update a container that is being deleted"),
                [VERB_EXIT] = GO(DELETING),
        },
        [PROCESS_STOPPED] = {
                [VERB_START] = WRONG("cannot start a stopped process"),
                [VERB_KILL] = FINISHED,
                [VERB_KILL_ALL] = GO(STOPPED),
                [VERB_EXEC] = WRONG("cannot exec in a stopped state"),
                [VERB_EXEC_PAUSED] = WRONG("cannot exec in a stopped state"),
                [VERB_RESIZE] = WRONG("cannot resize a stopped container"),
                [VERB_CLOSE_IO] = GO(STOPPED),
                [VERB_DELETE] = GO(DELETING),
                [VERB_PAUSE] = WRONG("cannot pause a stopped container"),
                [VERB_RESUME] = WRONG("cannot resume a stopped container"),
                [VERB_UPDATE] = WRONG("cannot update a stopped container"),
        },
        [PROCESS_DELETING] = {
                [VERB_START] = WRONG("cannot start a process that is being deleted"),
                [VERB_KILL] = FINISHED,
                [VERB_KILL_ALL] = FINISHED,
                [VERB_EXEC] = WRONG("cannot exec in a container that is being deleted"),
                [VERB_EXEC_PAUSED] = WRONG("cannot exec in a container that is being deleted"),
                [VERB_RESIZE] = WRONG("cannot resize a container that is being deleted"),
                [VERB_CLOSE_IO] = GO(DELETING),
                [VERB_DELETE] = LATER,
                [VERB_PAUSE] = WRONG("cannot pause a container that is being deleted"),
                [VERB_RESUME] = WRONG("cannot resume a container that is being deleted"),
                [VERB_UPDATE] = WRONG("cannot update a container that is being deleted"),
                [VERB_DELETE_FAILED] = GO(STOPPED),
        },
};

static const struct cell exec_cells[_PROCESS_STATE_MAX][_PROCESS_VERB_MAX] = {
        [PROCESS_CREATED] = {
                [VERB_START] = GO(STARTING),
                [VERB_KILL] = WRONG("process not created"),
                [VERB_RESIZE] = GO(CREATED),
                [VERB_CLOSE_IO] = GO(CREATED),
                [VERB_DELETE] = GO(DELETING),
        },
        [PROCESS_STARTING] = {
                [VERB_START] = WRONG("cannot start a process that is being started"),
                [VERB_KILL] = LATER,
                [VERB_RESIZE] = GO(STARTING),
                [VERB_CLOSE_IO] = GO(STARTING),
                [VERB_DELETE] = LATER,
                [VERB_STARTED] = GO(RUNNING),
                [VERB_START_FAILED] = GO(STOPPED),
        },
        [PROCESS_RUNNING] = {
                [VERB_START] = WRONG("cannot start a running process"),
                [VERB_KILL] = GO(RUNNING),
                [VERB_RESIZE] = GO(RUNNING),
                [VERB_CLOSE_IO] = GO(RUNNING),
                [VERB_DELETE] = WRONG("cannot delete a running process"),
                [VERB_EXIT] = GO(STOPPED),
        },
        [PROCESS_STOPPED] = {
                [VERB_START] = WRONG("cannot start a stopped process"),
                [VERB_KILL] = FINISHED,
                [VERB_RESIZE] = WRONG("cannot resize a stopped process"),
                [VERB_CLOSE_IO] = GO(STOPPED),
                [VERB_DELETE] = GO(DELETING),
        },
        [PROCESS_DELETING] = {
                [VERB_START] = WRONG("cannot start a process that is being deleted"),
                [VERB_KILL] = FINISHED,
                [VERB_RESIZE] = WRONG("cannot resize a process that is being deleted"),
                [VERB_CLOSE_IO] = GO(DELETING),
                [VERB_DELETE] = LATER,
        },
};
/* clang-format on */

const char *process_state_name(enum process_state state)
{
        static const char *const names[_PROCESS_STATE_MAX] = {
                [PROCESS_CREATED] = "created",     [PROCESS_STARTING] = "starting",
                [PROCESS_RUNNING] = "running",     [PROCESS_PAUSING] = "pausing",
                [PROCESS_PAUSED] = "paused",       [PROCESS_RESUMING] = "resuming",
                [PROCESS_DISCARDED] = "discarded", [PROCESS_STOPPED] = "stopped",
                [PROCESS_DELETING] = "deleting",
        };

        return names[state];
}

int process_next(enum process_kind kind, enum process_state state, enum process_verb verb,
                 enum process_state *ret, struct error *err)
{
        const struct cell *cell;

        assert(state < _PROCESS_STATE_MAX && verb < _PROCESS_VERB_MAX);
        cell = kind == PROCESS_INIT ? &init_cells[state][verb] : &exec_cells[state][verb];
        switch (cell->what) {
        case CELL_GO:
                *ret = cell->next;
                return 0;
        case CELL_LATER:
                return PROCESS_WAIT;
        case CELL_NO:
                assert(cell->why[WHY_MAX - 1] == '\0');
                return error_set(err, cell->code, "%s", cell->why);
        case CELL_NONE:
                break;
        }
        return error_set(err, STATUS_INTERNAL, "a process that is %s cannot do verb %d",
                         process_state_name(state), (int)verb);
}
