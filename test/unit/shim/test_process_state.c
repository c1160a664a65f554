/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "shim/process_state.h"
#include "test/unit/unit.h"

/*
 * The whole table, one letter a cell. A capital is the next state (Created, Starting, Running,
 * pausinG, Paused, resUming, Discarded, sTopped, deletiNg); w: wait, f: FailedPrecondition, n:
 * NotFound, -: cannot happen.
 */
static const char letters[_PROCESS_STATE_MAX + 1] = "CSRGPUDTN";

static const char *const init_table[_PROCESS_STATE_MAX] = {
        /* Start Kill KillAll Exec ExecPaused Resize CloseIO Delete Pause Resume Update | started
         * failed paused failed resumed failed | exit undeleted */
        [PROCESS_CREATED] = "SCCCCCCDffC------T-",   [PROCESS_STARTING] = "fSSSSSSwwwSRC----w-",
        [PROCESS_RUNNING] = "fRRRRRRfGfR------T-",   [PROCESS_PAUSING] = "fGGfGGGwwwG--PR--w-",
        [PROCESS_PAUSED] = "fPPfPPPffUP--------",    [PROCESS_RESUMING] = "fUUfUUUwwwU----RPw-",
        [PROCESS_DISCARDED] = "fDDfffDwfff------N-", [PROCESS_STOPPED] = "fnTfffTNfff--------",
        [PROCESS_DELETING] = "fnnfffNwfff-------T",
};

static const char *const exec_table[_PROCESS_STATE_MAX] = {
        [PROCESS_CREATED] = "Sf---CCN-----------",   [PROCESS_STARTING] = "fw---SSw---RT------",
        [PROCESS_RUNNING] = "fR---RRf---------T-",   [PROCESS_PAUSING] = "-------------------",
        [PROCESS_PAUSED] = "-------------------",    [PROCESS_RESUMING] = "-------------------",
        [PROCESS_DISCARDED] = "-------------------", [PROCESS_STOPPED] = "fn---fTN-----------",
        [PROCESS_DELETING] = "fn---fNw-----------",
};

static char cell(enum process_kind kind, enum process_state state, enum process_verb verb)
{
        enum process_state next = _PROCESS_STATE_MAX;
        struct error err = ERROR_INIT;
        int r = process_next(kind, state, verb, &next, &err);

        if (r == 0)
                return letters[next];
        assert_int_equal(next, _PROCESS_STATE_MAX);
        if (r == PROCESS_WAIT)
                return 'w';
        assert_int_equal(r, -1);
        assert_true(strlen(err.msg) > 0);
        switch (err.code) {
        case STATUS_FAILED_PRECONDITION:
                return 'f';
        case STATUS_NOT_FOUND:
                return 'n';
        case STATUS_INTERNAL:
                return '-';
        default:
                return '?';
        }
}

static void assert_table(enum process_kind kind, const char *const *table)
{
        for (int s = 0; s < _PROCESS_STATE_MAX; s++) {
                char row[_PROCESS_VERB_MAX + 1] = {0};

                for (int v = 0; v < _PROCESS_VERB_MAX; v++)
                        row[v] = cell(kind, (enum process_state)s, (enum process_verb)v);
                assert_string_equal(row, table[s]);
        }
}

static void every_verb_of_an_init_leads_where_it_should(void **state)
{
        (void)state;
        assert_table(PROCESS_INIT, init_table);
}

static void every_verb_of_an_exec_leads_where_it_should(void **state)
{
        (void)state;
        assert_table(PROCESS_EXEC, exec_table);
}

static void refusals_use_the_words_that_clients_know(void **state)
{
        enum process_state next;
        struct error err = ERROR_INIT;

        (void)state;
        (void)process_next(PROCESS_INIT, PROCESS_STOPPED, VERB_KILL, &next, &err);
        assert_string_equal(err.msg, "process already finished");
        (void)process_next(PROCESS_EXEC, PROCESS_CREATED, VERB_KILL, &next, &err);
        assert_string_equal(err.msg, "process not created");
        (void)process_next(PROCESS_INIT, PROCESS_RUNNING, VERB_DELETE, &next, &err);
        assert_string_equal(err.msg, "cannot delete a running process");
        (void)process_next(PROCESS_INIT, PROCESS_STOPPED, VERB_EXEC, &next, &err);
        assert_string_equal(err.msg, "cannot exec in a stopped state");
}

static void every_state_has_a_name(void **state)
{
        (void)state;
        for (int s = 0; s < _PROCESS_STATE_MAX; s++)
                assert_true(strlen(process_state_name((enum process_state)s)) > 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_verb_of_an_init_leads_where_it_should),
                cmocka_unit_test(every_verb_of_an_exec_leads_where_it_should),
                cmocka_unit_test(refusals_use_the_words_that_clients_know),
                cmocka_unit_test(every_state_has_a_name),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
