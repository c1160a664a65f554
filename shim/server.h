/* SPDX-License-Identifier: Apache-2.0
 *
 * The root object of a serving shim: the ttrpc server with the task services v2 and v3, the one
 * container, and the publisher of its events. It knows containerd's rules and no kernel detail: the
 * executor runs the container.
 *
 * It never ends the process: it tells its owner through on_finished, once, that nothing is left to
 * be served. The owner then leaves its loop and frees the server.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pkg/base/error.h"
#include "pkg/loop/loop.h"

#include "shim/executor.h"

struct shim_server;
struct vault;

/* Nanoseconds; 0 takes the default, which is the SHIM_* constant of the same name. */
struct shim_times {
        uint64_t unused_ns; /* no container yet, no connection: the shim ends after */
        uint64_t alone_ns;  /* the container was deleted, or has ended and its bundle is gone, and
                             * there is no connection: it ends after */
        uint64_t idle_ns;   /* no container, but a connection that asks for nothing */
        uint64_t events_ns; /* the most that all these wait for containerd to take events */
        uint64_t stop_ns;   /* the most that a stop waits for events, replies and jobs */
        uint64_t drain_ns;  /* the most that Delete waits for stdio */
        uint64_t stop_logger_ns;  /* and then for a logging program that was told to end */
        uint64_t attach_drain_ns; /* how long the streams of Attach and ExecStream go on after the
                                   * exit, while others keep the output open */
        uint64_t execs_ns;   /* the most that init's exit is kept back for the exits of execs */
        uint64_t attempt_ns; /* one attempt to hand an event to containerd */
        uint64_t backoff_min_ns;
        uint64_t backoff_max_ns;
        uint64_t readers_ns; /* the most that Create waits for clients to open their FIFOs */
        uint64_t upgrade_ns; /* the most that an upgrade waits for a quiet moment */
};

#define SHIM_UNUSED_NS (UINT64_C(60) * 1000000000)
#define SHIM_ALONE_NS  (UINT64_C(10) * 1000000000)
#define SHIM_IDLE_NS   (UINT64_C(300) * 1000000000)
#define SHIM_EVENTS_NS (UINT64_C(3600) * 1000000000)
#define SHIM_STOP_NS   (UINT64_C(5) * 1000000000)
#define SHIM_DRAIN_NS  (UINT64_C(10) * 1000000000)
/* A little more than LIMIT_LOGGER_GRACE_S, so that one that was killed is seen to have ended. */
#define SHIM_STOP_LOGGER_NS  (UINT64_C(13) * 1000000000)
#define SHIM_ATTACH_DRAIN_NS (UINT64_C(2) * 1000000000)
#define SHIM_EXECS_NS        (UINT64_C(10) * 1000000000)
/* One that keeps its connection and does not answer is stopped, not gone: what it was sent it will
 * handle when it goes on, and what it was sent twice, twice. */
#define SHIM_ATTEMPT_NS     (UINT64_C(3600) * 1000000000)
#define SHIM_BACKOFF_MIN_NS (UINT64_C(100) * 1000000)
#define SHIM_BACKOFF_MAX_NS (UINT64_C(5) * 1000000000)
#define SHIM_READERS_NS     (UINT64_C(100) * 1000000)
#define SHIM_UPGRADE_NS     (UINT64_C(10) * 1000000000)

/* What the owner of the process does for an upgrade; path is an absolute one, or NULL for the
 * binary that the shim was started from. */
struct shim_upgrade_ops {
        /* Tries the binary out, on a copy of the vault and in a process of its own. fn runs later,
         * from the loop, with the reason why it will not do, or NULL. */
        int (*check)(const char *path, void (*fn)(const struct error *err, void *userdata),
                     void *userdata, void *owner, struct error *err);

        /* Executes it in this process. Returns only when that has failed. */
        void (*execute)(const char *path, void *owner, struct error *err);
};

struct shim_server_options {
        struct loop *loop;                      /* outlives the server */
        struct reaper *reaper;                  /* likewise; for logging programs */
        const struct executor *executor;        /* outlives the server, like the other one */
        const struct executor *binary_executor; /* for a Create that names a binary; may be NULL */
        const char *runtime_namespace;          /* of containerd; copied */
        const char *id;            /* the -id of `start`: for the log and the dump; copied */
        const char *bundle;        /* absolute: the shim's own files go here, also when a
                                    * Create names another directory; likewise */
        int bundle_fd;             /* of that; borrowed. 0: it is opened */
        const char *ttrpc_address; /* containerd's, for events; "" or NULL: none; copied */
        struct shim_times times;

        const char *version; /* of this binary; lives as long as the server */
        struct vault *vault; /* keeps what must outlive the process; it does, too. NULL: nothing */
        const struct shim_upgrade_ops *upgrade_ops; /* NULL: it cannot be upgraded */

        /*
         * Runs once, before the server stops listening: the owner removes the sockets' names, while
         * nobody else can have them. May be NULL. Not at the server's free.
         */
        void (*on_closing)(void *userdata);

        /*
         * Runs once, from the loop, when the server has come to its end: after Shutdown, after
         * shim_server_stop(), or by itself when there is nothing to serve. Events and replies have
         * been handed over, or stop_ns has passed. The owner calls loop_quit() from here.
         */
        void (*on_finished)(void *userdata);
        void *userdata;
};

int shim_server_new(struct shim_server **ret, const struct shim_server_options *options,
                    struct error *err);

/*
 * Drops connections and listeners and forgets the container, whose processes go on. Not from inside
 * on_finished. When shim_server_is_busy(), a job of the executor is still under way (a stop whose
 * time has run out) and the executor's container is left to the end of the process: the owner must
 * then not free the engine either.
 */
struct shim_server *shim_server_free(struct shim_server *server);
bool shim_server_is_busy(const struct shim_server *server);

/* Serves a listening socket, which the server owns from then on. May be called several times. */
int shim_server_listen_take(struct shim_server *server, int fd, struct error *err);

/* Serves one connected socket, owned by the server also on failure. */
int shim_server_adopt_consume(struct shim_server *server, int fd, struct error *err);

/*
 * For SIGTERM and SIGINT: an orderly end, also with a running container, which is left alone. A
 * Create under way is aborted and undone. Idempotent. why goes into the log.
 */
void shim_server_stop(struct shim_server *server, const char *why);

/*
 * Takes over what an earlier image of this process has left in the vault: the container, and the
 * connections with their calls. The server is new. Until shim_server_resume() nothing has an effect
 * outside of this image but that descriptors may be closed: neither the vault nor a file is written
 * to, nothing is read, sent, signalled or reaped. So another image can be executed instead, whether
 * this one has failed or not.
 */
int shim_server_restore(struct shim_server *server, struct error *err);

/*
 * From here on this image is the shim, and it cannot fail any more. What was under way at a crash
 * is settled, and calls that had been begun go on or are refused. None begins yet: what it makes
 * could not be told from what the image before has left, with which the caller does away first.
 */
void shim_server_resume(struct shim_server *server);

/* Calls that nobody has begun begin. */
void shim_server_hear(struct shim_server *server);

/* What was restored had been left at a quiet moment; else at a crash, and whatever was under way
 * has left its traces. Known from shim_server_restore() on. */
bool shim_server_was_upgraded(const struct shim_server *server);
bool shim_server_has_container(const struct shim_server *server);

/* It has one, or had one that is deleted: the id may be somebody else's by now. */
bool shim_server_had_container(const struct shim_server *server);

/* After a crash: what a Create that it has cut off has left in the bundle goes. That of a container
 * that was stays, for the `delete` action. */
void shim_server_forget_create(struct shim_server *server);

/* True if all processes of the container are its own children: what else there is, is not its. */
bool shim_server_owns_children(const struct shim_server *server);

/*
 * After a crash, when the stages of the image before are dead. One of them may have stopped the
 * container, for a Pause or for the moment of an Update: unless it is paused, it is thawed. Another
 * may have been killing what the init had left behind, which is done again.
 */
void shim_server_let_go(struct shim_server *server);

/* The listening socket, borrowed; -1: none. */
int shim_server_listener(const struct shim_server *server);

/* For SIGHUP: goes on as the binary that the shim was started from. */
void shim_server_upgrade(struct shim_server *server);

/* For SIGUSR1: the whole state, to the log, between two marker lines. */
void shim_server_dump(const struct shim_server *server);
