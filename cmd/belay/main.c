/* SPDX-License-Identifier: Apache-2.0
 *
 * belay: the command line for people. It has no daemon: every container has its shim, and every
 * verb is a conversation with one.
 */
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cmd/belay/args.h"
#include "cmd/belay/out.h"
#include "cmd/belay/verbs.h"
#include "version.h"

/* The newest version of the runtime-spec that the engine knows: see its features document. */
#define OCI_VERSION "1.3.0"

enum {
        EXIT_USAGE = 2,
        EXIT_BELAY = 125, /* belay's own failure where other statuses are the container's */
};

static const struct verb verbs[] = {
        {
                .name = "run",
                .synopsis = "[OPTION...] ID [--] [ARGUMENT...]",
                .summary = "Run a container",
                .details =
                        "With --rootfs, ARGUMENTs (default: sh) run in that directory, with "
                        "belay's default\nconfiguration. With --bundle, its config.json is used; "
                        "ARGUMENTs and options replace\nwhat it says. The bundle itself is not "
                        "written to. Then all is as runc has it: the container\ninherits the "
                        "streams, also with -d, and is removed at its end unless --keep is "
                        "given.\n\n"
                        "In the foreground, belay's standard streams are the container's, and "
                        "signals go to it;\nthe third ^C kills it. The exit status is the "
                        "container's own, or 125 if belay failed.\nWith --rootfs and "
                        "without --rm, the\nended container stays until `belay delete`.\n\n"
                        "With -d, --log URI has the shim keep the output: log:///PATH, a file "
                        "that `belay logs` reads\nand `belay attach` follows, or a logging "
                        "program's binary:///PATH. With -i its input is open for\n`belay attach`; "
                        "without, it is /dev/null. (--log FILE, for belay's own errors, stands "
                        "before `run`.)",
                .flags = ARG_BIT(ARG_KEEP) | ARG_BIT(ARG_CONSOLE_SOCKET) | ARG_BIT(ARG_PID_FILE) |
                         ARG_BIT(ARG_PRESERVE_FDS) | ARG_BIT(ARG_NO_PIVOT) |
                         ARG_BIT(ARG_NO_NEW_KEYRING) | ARG_BIT(ARG_NO_SUBREAPER) | ARG_BIT(ARG_RM) |
                         ARG_BIT(ARG_DETACH) | ARG_BIT(ARG_TERMINAL) | ARG_BIT(ARG_ROOTFS) |
                         ARG_BIT(ARG_ENV) | ARG_BIT(ARG_CWD) | ARG_BIT(ARG_USER) |
                         ARG_BIT(ARG_OUTPUT) | ARG_BIT(ARG_INTERACTIVE) |
                         ARG_BIT(ARG_CONTAINER_LOG),
                .takes_id = true,
                .words_max = INT_MAX,
                .failure = EXIT_BELAY,
                .check = verb_run_check,
                .run = verb_run,
        },
        {
                .name = "exec",
                .synopsis = "[OPTION...] ID [--] ARGUMENT...",
                .summary = "Run a further process in a container",
                .details =
                        "It gets the user, environment, capabilities and limits of the "
                        "container's own process,\nunless options say otherwise. The exit status "
                        "is its own, or 125 if belay failed.\nWith -d, its id is printed; state, "
                        "wait, kill and delete take it as --exec; but with "
                        "--process,\n--pid-file or --console-socket the process inherits belay's "
                        "streams and nothing is printed.\nInput is passed on with -i and without.",
                .flags = ARG_BIT(ARG_INTERACTIVE) | ARG_BIT(ARG_DETACH) | ARG_BIT(ARG_TERMINAL) |
                         ARG_BIT(ARG_ENV) | ARG_BIT(ARG_CWD) | ARG_BIT(ARG_USER) |
                         ARG_BIT(ARG_PROCESS) | ARG_BIT(ARG_CAP) | ARG_BIT(ARG_ADDITIONAL_GIDS) |
                         ARG_BIT(ARG_NO_NEW_PRIVS) | ARG_BIT(ARG_APPARMOR) |
                         ARG_BIT(ARG_PROCESS_LABEL) | ARG_BIT(ARG_IGNORE_PAUSED) |
                         ARG_BIT(ARG_CGROUP) | ARG_BIT(ARG_PID_FILE) | ARG_BIT(ARG_CONSOLE_SOCKET) |
                         ARG_BIT(ARG_PRESERVE_FDS),
                .takes_id = true,
                .words_max = INT_MAX,
                .failure = EXIT_BELAY,
                .check = verb_exec_check,
                .run = verb_exec,
        },
        {
                .name = "create",
                .synopsis = "[OPTION...] ID",
                .summary = "Create a container from a bundle, as the OCI has it",
                .details =
                        "The bundle is --bundle, by default the working directory. The container "
                        "inherits the\nstandard streams; one with a terminal sends it to "
                        "--console-socket. `belay start` starts it.\n--log URI and -i are as "
                        "those of `run -d`.",
                .flags = ARG_BIT(ARG_INTERACTIVE) | ARG_BIT(ARG_CONTAINER_LOG) |
                         ARG_BIT(ARG_CONSOLE_SOCKET) | ARG_BIT(ARG_PID_FILE) |
                         ARG_BIT(ARG_PRESERVE_FDS) | ARG_BIT(ARG_NO_PIVOT) |
                         ARG_BIT(ARG_NO_NEW_KEYRING),
                .takes_id = true,
                .failure = EXIT_FAILURE,
                .check = verb_create_check,
                .run = verb_create,
        },
        {
                .name = "start",
                .synopsis = "[OPTION...] ID",
                .summary = "Start a created container",
                .takes_id = true,
                .failure = EXIT_FAILURE,
                .run = verb_start,
        },
        {
                .name = "attach",
                .synopsis = "[OPTION...] ID [EXEC_ID]",
                .summary = "Look at a process that runs, and type to it",
                .details =
                        "For a process with a terminal, and for one whose output goes to "
                        "log://. Any number of people may\nattach at once. The detach keys, or "
                        "a signal to belay, end the attach and nothing else. Input is\npassed on "
                        "if the process was made with -i or reads a FIFO, and its end only with "
                        "--close-stdin.\nThe exit status is the process's if it has ended "
                        "meanwhile, 0 after the detach keys, 128 and its\nnumber after a signal, "
                        "and 125 if belay failed.",
                .flags = ARG_BIT(ARG_NO_STDIN) | ARG_BIT(ARG_CLOSE_STDIN) | ARG_BIT(ARG_REPLAY) |
                         ARG_BIT(ARG_DETACH_KEYS) | ARG_BIT(ARG_EXEC),
                .takes_id = true,
                .words_max = 1,
                .failure = EXIT_BELAY,
                .check = verb_attach_check,
                .run = verb_attach,
        },
        {
                .name = "logs",
                .synopsis = "[OPTION...] ID [EXEC_ID]",
                .summary = "Print what a process has written, from its log",
                .details = "For a process whose output goes to log:// (`belay run -d --log`). What "
                           "it wrote to standard\nerror goes to ours. TIME is "
                           "2026-11-28T13:35:39Z, seconds since 1970, or how long ago: 1h30m.",
                .flags = ARG_BIT(ARG_FOLLOW) | ARG_BIT(ARG_TAIL) | ARG_BIT(ARG_SINCE) |
                         ARG_BIT(ARG_UNTIL) | ARG_BIT(ARG_TIMESTAMPS) | ARG_BIT(ARG_STDOUT) |
                         ARG_BIT(ARG_STDERR) | ARG_BIT(ARG_EXEC),
                .takes_id = true,
                .words_max = 1,
                .failure = EXIT_FAILURE,
                .check = verb_logs_check,
                .run = verb_logs,
        },
        {
                .name = "state",
                .synopsis = "[OPTION...] ID",
                .summary = "Show the state of a container, and how it ended",
                .details = "`lost` means that its shim is gone and has left no record of an end. "
                           "`io` tells of output\nthat the shim or a logging program takes "
                           "care of.",
                .flags = ARG_BIT(ARG_EXEC) | ARG_BIT(ARG_FORMAT),
                .takes_id = true,
                .failure = EXIT_FAILURE,
                .check = format_check,
                .run = verb_state,
        },
        {
                .name = "kill",
                .synopsis = "[OPTION...] ID [SIGNAL]",
                .summary = "Send a signal, SIGTERM by default",
                .details = "SIGNAL is a number or a name: TERM, SIGTERM, 15, RTMIN+3.",
                .flags = ARG_BIT(ARG_ALL) | ARG_BIT(ARG_EXEC),
                .takes_id = true,
                .words_max = 1,
                .failure = EXIT_FAILURE,
                .check = verb_kill_check,
                .run = verb_kill,
        },
        {
                .name = "wait",
                .synopsis = "[OPTION...] ID",
                .summary = "Wait for the end, print the exit status and exit with it",
                .details =
                        "A container that has ended answers at once, until it is deleted. 125 if "
                        "belay failed.",
                .flags = ARG_BIT(ARG_EXEC),
                .takes_id = true,
                .failure = EXIT_BELAY,
                .run = verb_wait,
        },
        {
                .name = "delete",
                .synopsis = "[OPTION...] ID",
                .summary = "Remove a container that has ended, and its shim",
                .flags = ARG_BIT(ARG_FORCE) | ARG_BIT(ARG_EXEC),
                .takes_id = true,
                .failure = EXIT_FAILURE,
                .run = verb_delete,
        },
        {
                .name = "list",
                .synopsis = "[OPTION...]",
                .summary = "List the containers below --root",
                .details = "`lost` means that a container's shim is gone and has left no record of "
                           "an end, `unknown`\nthat it does not answer.",
                .flags = ARG_BIT(ARG_FORMAT) | ARG_BIT(ARG_QUIET),
                .failure = EXIT_FAILURE,
                .check = verb_list_check,
                .run = verb_list,
        },
        {
                .name = "ps",
                .synopsis = "[OPTION...] ID [--] [PS_OPTION...]",
                .summary = "List the processes of a container",
                .details = "With options of ps(1) its own table is shown, which must have a column "
                           "PID.",
                .flags = ARG_BIT(ARG_FORMAT),
                .takes_id = true,
                .words_max = INT_MAX,
                .failure = EXIT_FAILURE,
                .check = format_check,
                .run = verb_ps,
        },
        {
                .name = "pause",
                .synopsis = "ID",
                .summary = "Stop the processes of a container until `belay resume`",
                .takes_id = true,
                .failure = EXIT_FAILURE,
                .run = verb_pause,
        },
        {
                .name = "resume",
                .synopsis = "ID",
                .summary = "Let a paused container go on",
                .takes_id = true,
                .failure = EXIT_FAILURE,
                .run = verb_resume,
        },
        {
                .name = "update",
                .synopsis = "[OPTION...] ID",
                .summary = "Change the limits of a container",
                .details = "What is not given stays as it is. With --resources all other limits "
                           "are ignored.",
                .flags = ARG_BIT(ARG_RESOURCES),
                .takes_id = true,
                .failure = EXIT_FAILURE,
                .run = verb_update,
        },
        {
                .name = "events",
                .synopsis = "[OPTION...] ID",
                .summary = "Print statistics and OOM kills as lines of JSON",
                .details = "As runc has them, until the container ends: statistics at every "
                           "interval, by default 5s,\nand one line for each process that was "
                           "killed for memory since the look before.\nWith --stats, the "
                           "statistics of now and nothing else.",
                .flags = ARG_BIT(ARG_STATS) | ARG_BIT(ARG_INTERVAL),
                .takes_id = true,
                .failure = EXIT_FAILURE,
                .check = verb_events_check,
                .run = verb_events,
        },
        {
                .name = "stats",
                .synopsis = "[OPTION...] [ID...]",
                .summary = "Show what containers use of the machine",
                .details =
                        "Of those that are named, or of all that run, at every interval, by "
                        "default 1s.\nCPU is in percent of one CPU since the look before; memory "
                        "is without file pages that\nthe kernel takes back at once; READ and "
                        "WRITTEN are from and to block devices; THROTTLED is\nthe part of the "
                        "periods in which the CPU quota was used up; PRESSURE, on cgroup v2, the "
                        "part\nof the last 10s in which some process waited for it. With --json "
                        "one line for each container.",
                .flags = ARG_BIT(ARG_INTERVAL) | ARG_BIT(ARG_NO_STREAM),
                .words_max = INT_MAX,
                .failure = EXIT_FAILURE,
                .check = verb_stats_check,
                .run = verb_stats,
        },
        {
                .name = "inspect",
                .synopsis = "ID",
                .summary = "Print all that a shim keeps for the next image of its process",
                .details = "JSON for people: processes, their streams and ends, connections, and "
                           "why the present image\nruns. What is 0, false or empty is left out. "
                           "Numbers of descriptors are one higher than they\nare. What an exec "
                           "is to be (its environment), and bytes of output, are not shown.",
                .takes_id = true,
                .failure = EXIT_FAILURE,
                .run = verb_inspect,
        },
        {
                .name = "upgrade",
                .synopsis = "[OPTION...] [ID...]",
                .summary = "Let shims go on as another binary, under their containers",
                .details = "Container, connections and calls go on; the binary is tried out first. "
                           "Printed are the versions\nbefore and after, or why not; then the old "
                           "binary goes on, and the exit status is 1. Those that\n--all and "
                           "--containerd find without a shim of belay's are passed over.",
                .flags = ARG_BIT(ARG_UPGRADE_ALL) | ARG_BIT(ARG_CONTAINERD) | ARG_BIT(ARG_BINARY),
                .words_max = INT_MAX,
                .failure = EXIT_FAILURE,
                .check = verb_upgrade_check,
                .run = verb_upgrade,
        },
        {
                .name = "spec",
                .synopsis = "[OPTION...]",
                .summary = "Write a config.json to begin with",
                .details = "Into --bundle, by default the working directory.",
                .flags = ARG_BIT(ARG_SPEC_ROOTLESS),
                .failure = EXIT_FAILURE,
                .run = verb_spec,
        },
        {
                .name = "features",
                .synopsis = "",
                .summary = "Print what belay supports, as the runtime-spec has it",
                .failure = EXIT_FAILURE,
                .run = verb_features,
        },
};

enum { N_VERBS = sizeof(verbs) / sizeof(verbs[0]) };

static void complain(const struct args *args, const struct error *err)
{
        (void)fprintf(stderr, "belay: %s\n", err->msg);
        if (args->log)
                out_log_error(args->log, args->log_format, err->msg);
}

int main(int argc, char **argv)
{
        struct sigaction ignore = {.sa_handler = SIG_IGN};
        const struct verb *verb = NULL;
        struct error err = ERROR_INIT;
        struct args args;
        int status = 0;

        (void)sigaction(SIGPIPE, &ignore, NULL);
        if (args_parse(argc, (const char *const *)argv, verbs, N_VERBS, &args, &verb, &err) < 0) {
                complain(&args, &err);
                (void)fprintf(stderr, "(`belay %s%s--help` helps)\n", verb ? verb->name : "",
                              verb ? " " : "");
                return EXIT_USAGE;
        }
        if (args.version) {
                printf("belay %s (%s)\n", BELAY_VERSION, BELAY_REVISION);
                /* As callers of runc read it. */
                printf("commit: %s\nspec: %s\n", BELAY_REVISION, OCI_VERSION);
                return EXIT_SUCCESS;
        }
        if (!verb || args.help) {
                if (verb)
                        args_print_help(verb);
                else
                        args_print_overview(verbs, N_VERBS);
                return verb || args.help ? EXIT_SUCCESS : EXIT_USAGE;
        }
        if (verb->run(&args, &status, &err) < 0) {
                complain(&args, &err);
                return verb->failure;
        }
        return fflush(stdout) == 0 ? status : verb->failure;
}
