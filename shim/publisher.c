/* SPDX-License-Identifier: Apache-2.0
 *
 * The publisher: see publisher.h. The head of the queue is sent, and sent again after a pause when
 * that failed, on a new connection if the old one is gone or has not answered for very long. Only
 * what containerd calls invalid is given up, since it would call it invalid for ever and hold up
 * all that follows.
 *
 * As long as a connection lives nothing is sent twice on it: it goes along into another image of
 * the process, with the number of the event that is on its way.
 */
#include "shim/publisher.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/chaos.h"
#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/limits.h"
#include "pkg/base/str.h"
#include "pkg/ttrpc/ttrpc.h"

#include "containerd/services/events/ttrpc/v1/events.pb-c.h"
#include "shim/event_store.h"
#include "shim/log.h"

enum { METHOD_FORWARD = 0 };

struct publisher {
        struct loop *loop;
        char *address;
        char *runtime_namespace;
        void *keep; /* NULL: the connection does not outlive this process image */
        size_t keep_size;
        uint64_t attempt_ns;
        uint64_t backoff_min_ns;
        uint64_t backoff_max_ns;

        struct list queue;         /* of struct task_event, the oldest first */
        struct event_store *store; /* NULL: memory alone */
        bool store_failed;         /* the present failure is in the log */
        bool said_lost;            /* likewise, that an event of the image before is lost */
        bool held;
        size_t n_queued;
        uint64_t n_lost;
        bool freeing;
        bool in_flight;      /* the head of the queue has been sent and not been answered */
        bool said_away;      /* the present absence of containerd is in the log */
        uint64_t backoff_ns; /* of the next failure; 0: none in a row */

        struct ttrpc_client *client; /* NULL: not connected */
        bool client_is_bad;          /* to be dropped before the next attempt */
        struct loop_timer *retry;
        struct loop_deferred send;

        struct loop_deferred idle;
        void (*on_idle)(void *userdata);
        void *idle_userdata;
};

static void publisher_send(struct publisher *p);

static void on_deferred_send(struct loop_deferred *deferred)
{
        publisher_send(container_of(deferred, struct publisher, send));
}

static void on_deferred_idle(struct loop_deferred *deferred)
{
        struct publisher *p = container_of(deferred, struct publisher, idle);
        void (*fn)(void *userdata) = p->on_idle;

        if (!fn || p->n_queued > 0)
                return;
        p->on_idle = NULL;
        fn(p->idle_userdata);
}

static void on_retry(struct loop_timer *timer, void *userdata)
{
        (void)timer;
        publisher_send(userdata);
}

int publisher_new(struct publisher **ret, const struct publisher_options *options,
                  struct error *err)
{
        struct publisher *p = calloc(1, sizeof(*p));

        if (!p)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "create publisher: no memory");
        p->loop = options->loop;
        p->keep = options->keep;
        p->keep_size = options->keep_size;
        p->attempt_ns = options->attempt_ns;
        p->backoff_min_ns = options->backoff_min_ns;
        p->backoff_max_ns = options->backoff_max_ns;
        list_init(&p->queue);
        loop_deferred_init(&p->send, on_deferred_send);
        loop_deferred_init(&p->idle, on_deferred_idle);
        p->address = strdup(options->address ? options->address : "");
        p->runtime_namespace = strdup(options->runtime_namespace);
        p->retry = loop_timer_new(p->loop, on_retry, p);
        if (options->dir_fd >= 0)
                p->store = event_store_new(options->dir_fd, options->memory, options->memory_size);
        if (!p->address || !p->runtime_namespace || !p->retry ||
            (options->dir_fd >= 0 && !p->store)) {
                publisher_free(p);
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "create publisher: no memory");
        }
        if (!*p->address)
                log_info("no TTRPC_ADDRESS: events are not published");
        *ret = p;
        return 0;
}

static void publisher_drop(struct publisher *p, struct task_event *event)
{
        if (p->store)
                event_store_remove(p->store, event, event->node.prev == &p->queue);
        task_event_free(event);
        p->n_queued--;
        if (p->store)
                event_store_tidy(p->store, &p->queue);
}

/* It is counted before it goes, in one step with its number. */
static void publisher_give_up(struct publisher *p, struct task_event *event)
{
        p->n_lost++;
        if (p->store)
                event_store_set_lost(p->store, p->n_lost, event);
        CHAOS_POINT("event-lost");
        publisher_drop(p, event);
        CHAOS_POINT("event-given-up");
        if (p->store)
                event_store_set_lost(p->store, p->n_lost, NULL);
}

struct publisher *publisher_free(struct publisher *p)
{
        if (!p)
                return NULL;
        if (p->n_queued > 0 || p->n_lost > 0)
                log_warning("%zu events were not accepted by containerd, %llu given up before",
                            p->n_queued, (unsigned long long)p->n_lost);
        p->freeing = true;
        ttrpc_client_free(TAKE_PTR(p->client));
        loop_deferred_cancel(&p->send);
        loop_deferred_cancel(&p->idle);
        loop_timer_free(p->retry);
        while (!list_is_empty(&p->queue))
                task_event_free(list_first(&p->queue, struct task_event, node));
        event_store_free(p->store);
        free(p->address);
        free(p->runtime_namespace);
        free(p);
        return NULL;
}

/* Waits before the next attempt, twice as long as the last time. */
static void publisher_back_off(struct publisher *p, const struct error *err)
{
        const struct task_event *head = list_first(&p->queue, struct task_event, node);

        if (!p->said_away) {
                p->said_away = true;
                log_warning("forward event '%s': %s; trying again", head->topic, err->msg);
        }
        if (p->backoff_ns == 0)
                p->backoff_ns = p->backoff_min_ns;
        if (loop_timer_set(p->retry, p->backoff_ns) < 0)
                loop_defer(p->loop, &p->send);
        p->backoff_ns *= 2;
        if (p->backoff_ns > p->backoff_max_ns)
                p->backoff_ns = p->backoff_max_ns;
}

static void publisher_go_on(struct publisher *p)
{
        if (p->n_queued > 0)
                loop_defer(p->loop, &p->send);
        else
                loop_defer(p->loop, &p->idle);
}

static void publisher_accepted(struct publisher *p, struct task_event *head)
{
        p->backoff_ns = 0;
        if (p->said_away) {
                p->said_away = false;
                log_info("events are accepted again, %zu to go", p->n_queued - 1);
        }
        CHAOS_POINT("event-accepted");
        publisher_drop(p, head);
        CHAOS_POINT("event-dropped");
        publisher_go_on(p);
}

static void on_response(const struct error *err, const ProtobufCMessage *response, void *userdata)
{
        struct publisher *p = userdata;
        struct task_event *head = list_first(&p->queue, struct task_event, node);

        (void)response;
        p->in_flight = false;
        if (p->freeing)
                return;
        assert(head);
        if (!err) {
                publisher_accepted(p, head);
        } else if (err->code == STATUS_INVALID_ARGUMENT) {
                log_error("forward event '%s': %s; given up", head->topic, err->msg);
                p->backoff_ns = 0;
                publisher_give_up(p, head);
                publisher_go_on(p);
        } else {
                /* A containerd that did not answer in time is a hung one: the next attempt has a
                 * connection of its own. */
                p->client_is_bad = true;
                publisher_back_off(p, err);
        }
}

static void on_close(struct ttrpc_client *client, const struct error *err, void *userdata)
{
        struct publisher *p = userdata;

        (void)err;
        if (p->client == client)
                p->client = ttrpc_client_free(p->client);
}

/* Calls, or waits for the answer to what the process image before has called: the head either way.
 */
static int publisher_forward(struct publisher *p, bool resume, struct error *err)
{
        const struct task_event *event = list_first(&p->queue, struct task_event, node);
        Containerd__Services__Events__Ttrpc__V1__ForwardRequest request =
                CONTAINERD__SERVICES__EVENTS__TTRPC__V1__FORWARD_REQUEST__INIT;
        Containerd__Types__Envelope envelope = CONTAINERD__TYPES__ENVELOPE__INIT;
        Google__Protobuf__Timestamp at = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
        Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
        const struct ttrpc_metadata metadata = {
                .key = "containerd-namespace-ttrpc",
                .value = p->runtime_namespace,
        };
        const struct ttrpc_call_options options = {
                .timeout_ns = p->attempt_ns,
                .tag = event->seq,
                .metadata = &metadata,
                .n_metadata = 1,
        };

        if (resume)
                return ttrpc_client_resume(
                        p->client, &containerd__services__events__ttrpc__v1__events__descriptor,
                        METHOD_FORWARD, &options, on_response, p, err);
        at.seconds = event->at.tv_sec;
        at.nanos = (int32_t)event->at.tv_nsec;
        any.type_url = (char *)event->type_url;
        any.value.data = (uint8_t *)event->data;
        any.value.len = event->len;
        envelope.timestamp = &at;
        envelope.namespace_ = p->runtime_namespace;
        envelope.topic = (char *)event->topic;
        envelope.event = &any;
        request.envelope = &envelope;
        return ttrpc_client_call(p->client,
                                 &containerd__services__events__ttrpc__v1__events__descriptor,
                                 METHOD_FORWARD, &request.base, &options, on_response, p, err);
}

static int publisher_connect(struct publisher *p, struct error *err)
{
        struct error kept = ERROR_INIT;

        if (ttrpc_client_connect(&p->client, p->loop, p->address, err) < 0)
                return -1;
        ttrpc_client_on_close(p->client, on_close, p);
        if (p->keep && ttrpc_client_keep(p->client, p->keep, p->keep_size, &kept) < 0)
                log_warning("connection to containerd: %s; it would not outlive this process image",
                            kept.msg);
        return 0;
}

/* Those that are only noted have gone with the image that had them. */
static bool publisher_has_head(struct publisher *p)
{
        struct task_event *head;

        while ((head = list_first(&p->queue, struct task_event, node)) && !*head->topic) {
                if (!p->said_lost)
                        log_error("events are lost: there was no room for them on the disk or in "
                                  "the state of the shim");
                p->said_lost = true;
                publisher_give_up(p, head);
                if (p->n_queued == 0)
                        loop_defer(p->loop, &p->idle);
        }
        return head != NULL;
}

/* Sends the head of the queue, unless it is under way. */
static void publisher_send(struct publisher *p)
{
        struct error err = ERROR_INIT;

        if (p->in_flight || p->held || !publisher_has_head(p))
                return;
        loop_timer_clear(p->retry);
        if (p->client_is_bad) {
                p->client_is_bad = false;
                ttrpc_client_free(TAKE_PTR(p->client));
        }
        if (!p->client && publisher_connect(p, &err) < 0) {
                publisher_back_off(p, &err);
                return;
        }
        if (publisher_forward(p, false, &err) < 0) {
                p->client_is_bad = true;
                publisher_back_off(p, &err);
                return;
        }
        p->in_flight = true;
        CHAOS_POINT("event-sent");
}

/* Makes room by giving up the oldest event that is not under way. */
static void publisher_bound(struct publisher *p)
{
        struct list *oldest = p->queue.next;

        if (p->n_queued < LIMIT_EVENTS_QUEUED)
                return;
        if (p->in_flight)
                oldest = oldest->next;
        publisher_give_up(p, container_of(oldest, struct task_event, node));
        if (p->n_lost == 1)
                log_error("more than %d events are queued; the oldest are given up",
                          LIMIT_EVENTS_QUEUED);
}

/* Into the file, too, or what else outlives this process image. */
static void publisher_store(struct publisher *p, struct task_event *event)
{
        struct error err = ERROR_INIT;

        if (!p->store)
                return;
        if (event_store_add(p->store, event, &err) == 0) {
                p->store_failed = false;
                return;
        }
        if (!p->store_failed)
                log_warning("%s", err.msg);
        p->store_failed = true;
}

/* The connection of the process image before, and the answer to the event that it had sent. If that
 * was accepted it is not the head any more. */
static int publisher_restore_client(struct publisher *p, struct error *err)
{
        if (ttrpc_client_restore(&p->client, p->loop, p->keep, p->keep_size, err) < 0) {
                if (err->code == STATUS_RESOURCE_EXHAUSTED)
                        return -1;
                log_warning("connection to containerd: %s", err->msg);
        }
        if (!p->client)
                return 0;
        ttrpc_client_on_close(p->client, on_close, p);
        if (list_is_empty(&p->queue))
                return 0;
        p->in_flight = publisher_forward(p, true, err) == 0;
        return p->in_flight || err->code == STATUS_NOT_FOUND ? 0 : -1;
}

int publisher_restore(struct publisher *p, uint64_t until_seq, uint64_t n_lost, struct error *err)
{
        struct error why = ERROR_INIT;
        uint64_t n_noted = 0;

        p->n_lost = n_lost;
        if (!p->store)
                return 0;
        if (event_store_load(p->store, until_seq, &p->queue, &n_noted, err) < 0)
                return -1;
        list_for_each(event, &p->queue, struct task_event, node)
                p->n_queued++;
        if (p->n_lost < n_noted)
                p->n_lost = n_noted;
        if (p->keep && publisher_restore_client(p, &why) < 0)
                return error_set(err, why.code, "connection to containerd: %s", why.msg);
        return 0;
}

void publisher_set_file(struct publisher *p, uint32_t number)
{
        if (p->store)
                event_store_set_file(p->store, number);
}

int publisher_file(const struct publisher *p)
{
        return p->store ? event_store_file(p->store) : -1;
}

void publisher_resume(struct publisher *p)
{
        struct error err = ERROR_INIT;
        size_t n_lost = 0;

        if (!p->store)
                return;
        if (event_store_settle(p->store, &p->queue, &n_lost, &err) < 0)
                log_error("%s", err.msg);
        if (n_lost > 0)
                log_error("%zu events at least are lost: they are not in the file", n_lost);
        p->n_lost += n_lost;
        if (p->client)
                ttrpc_client_go_on(p->client);
        if (p->n_queued > 0)
                loop_defer(p->loop, &p->send);
}

void publisher_renumber(struct publisher *p)
{
        if (p->store)
                event_store_renumber(p->store);
}

bool publisher_is_quiet(const struct publisher *p)
{
        return !p->in_flight || ttrpc_client_is_kept(p->client);
}

void publisher_hold(struct publisher *p, bool hold)
{
        p->held = hold;
        if (!hold && p->n_queued > 0 && !p->in_flight && !loop_timer_is_set(p->retry))
                loop_defer(p->loop, &p->send);
}

uint64_t publisher_next_seq(const struct publisher *p)
{
        return p->store ? event_store_next_seq(p->store) : 1;
}

void publisher_publish_take(struct publisher *p, struct task_event *event)
{
        if (!event) {
                p->n_lost++;
                if (p->store)
                        event_store_set_lost(p->store, p->n_lost, NULL);
                log_error("publish event: no memory");
                return;
        }
        assert(list_is_empty(&event->node));
        if (!*p->address) {
                task_event_free(event);
                return;
        }
        event->at = clock_realtime();
        publisher_bound(p);
        CHAOS_POINT("event-new");
        publisher_store(p, event);
        CHAOS_POINT("event-stored");
        list_append(&p->queue, &event->node);
        p->n_queued++;
        /* At the end of the round, so that the reply to the client does not wait for it; and not
         * at all while a pause runs. */
        if (!p->in_flight && !loop_timer_is_set(p->retry))
                loop_defer(p->loop, &p->send);
}

size_t publisher_n_queued(const struct publisher *p)
{
        return p->n_queued;
}

size_t publisher_n_in_memory(const struct publisher *p)
{
        return p->store ? event_store_n_in_memory(p->store) : 0;
}

size_t publisher_n_at_risk(const struct publisher *p)
{
        return p->store ? event_store_n_at_risk(p->store) : 0;
}

uint64_t publisher_n_lost(const struct publisher *p)
{
        return p->n_lost;
}

void publisher_on_idle(struct publisher *p, void (*fn)(void *userdata), void *userdata)
{
        p->on_idle = fn;
        p->idle_userdata = userdata;
        if (fn && p->n_queued == 0)
                loop_defer(p->loop, &p->idle);
}
