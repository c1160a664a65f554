/* SPDX-License-Identifier: Apache-2.0
 *
 * One verb, one file: see struct verb in args.h for what these do.
 */
#pragma once

#include "pkg/base/error.h"

#include "cmd/belay/args.h"

int verb_run_check(const struct args *args, struct error *err);
int verb_run(const struct args *args, int *ret_status, struct error *err);
int verb_create_check(const struct args *args, struct error *err);
int verb_create(const struct args *args, int *ret_status, struct error *err);
int verb_start(const struct args *args, int *ret_status, struct error *err);

/* --format is json, table or nothing. */
int format_check(const struct args *args, struct error *err);
int verb_pause(const struct args *args, int *ret_status, struct error *err);
int verb_resume(const struct args *args, int *ret_status, struct error *err);
int verb_update(const struct args *args, int *ret_status, struct error *err);
int verb_events_check(const struct args *args, struct error *err);
int verb_events(const struct args *args, int *ret_status, struct error *err);
int verb_stats_check(const struct args *args, struct error *err);
int verb_stats(const struct args *args, int *ret_status, struct error *err);
int verb_ps(const struct args *args, int *ret_status, struct error *err);
int verb_spec(const struct args *args, int *ret_status, struct error *err);
int verb_features(const struct args *args, int *ret_status, struct error *err);
int verb_exec_check(const struct args *args, struct error *err);
int verb_exec(const struct args *args, int *ret_status, struct error *err);
int verb_attach_check(const struct args *args, struct error *err);
int verb_attach(const struct args *args, int *ret_status, struct error *err);
int verb_logs_check(const struct args *args, struct error *err);
int verb_logs(const struct args *args, int *ret_status, struct error *err);
int verb_state(const struct args *args, int *ret_status, struct error *err);
int verb_inspect(const struct args *args, int *ret_status, struct error *err);
int verb_upgrade_check(const struct args *args, struct error *err);
int verb_upgrade(const struct args *args, int *ret_status, struct error *err);
int verb_kill_check(const struct args *args, struct error *err);
int verb_kill(const struct args *args, int *ret_status, struct error *err);
int verb_wait(const struct args *args, int *ret_status, struct error *err);
int verb_delete(const struct args *args, int *ret_status, struct error *err);
int verb_list_check(const struct args *args, struct error *err);
int verb_list(const struct args *args, int *ret_status, struct error *err);
