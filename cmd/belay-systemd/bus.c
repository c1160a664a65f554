/* SPDX-License-Identifier: Apache-2.0
 *
 * See bus.h. A job's end is told by a signal, JobRemoved, which may come before the answer to the
 * call that made the job: so all of them are noted from before the call on.
 */
#include "cmd/belay-systemd/bus.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/str.h"

#define SERVICE     "org.freedesktop.systemd1"
#define PATH        "/org/freedesktop/systemd1"
#define MANAGER     SERVICE ".Manager"
#define UNIT_EXISTS SERVICE ".UnitExists"
#define NO_UNIT     SERVICE ".NoSuchUnit"

/* systemd's own socket, for root: it is there without a bus, too, and is what systemctl(1) uses. */
#define PRIVATE_SOCKET "unix:path=/run/systemd/private"

#define NSEC_PER_USEC UINT64_C(1000)
#define TIMEOUT_NS    (UINT64_C(30) * NSEC_PER_SEC)

static void bus_error_clear(sd_bus_error *e)
{
        sd_bus_error_free(e);
}

#define _cleanup_bus_error_ _cleanup_(bus_error_clear)

static void message_unref_p(sd_bus_message **m)
{
        sd_bus_message_unref(*m);
}

static void slot_unref_p(sd_bus_slot **slot)
{
        sd_bus_slot_unref(*slot);
}

static int connect_private(sd_bus **ret)
{
        sd_bus *bus = NULL;
        int r = access("/run/systemd/private", F_OK) < 0 ? -errno : sd_bus_new(&bus);

        if (r >= 0)
                r = sd_bus_set_address(bus, PRIVATE_SOCKET);
        if (r >= 0)
                r = sd_bus_start(bus);
        if (r < 0) {
                sd_bus_unref(bus);
                return r;
        }
        *ret = bus;
        return 0;
}

int bus_connect(sd_bus **ret, struct error *err)
{
        int r = geteuid() == 0 ? connect_private(ret) : -EPERM;

        if (r < 0)
                r = sd_bus_open_system(ret);
        if (r < 0)
                return error_errno(err, -r, "connect to systemd");
        (void)sd_bus_set_method_call_timeout(*ret, TIMEOUT_NS / NSEC_PER_USEC);
        return 0;
}

static int call_failed(int r, const sd_bus_error *e, const char *what, const char *unit,
                       struct error *err)
{
        if (sd_bus_error_has_name(e, UNIT_EXISTS))
                return error_set(err, STATUS_ALREADY_EXISTS, "%s '%s': %s", what, unit, e->message);
        if (sd_bus_error_is_set(e))
                return error_set(err, STATUS_UNKNOWN, "%s '%s': %s", what, unit,
                                 e->message ? e->message : e->name);
        return error_errno(err, -r, "%s '%s'", what, unit);
}

/* ---- jobs ---- */

/* A unit has one job at a time, and a request has one unit: the last one that ended counts. */
struct job {
        const char *unit;
        uint32_t id; /* of the one that has ended; 0: none has */
        char result[32];
};

static int on_job_removed(sd_bus_message *m, void *userdata, sd_bus_error *e)
{
        struct job *job = userdata;
        const char *unit;
        const char *result;
        uint32_t id;

        if (sd_bus_message_read(m, "uoss", &id, NULL, &unit, &result) < 0 ||
            strcmp(unit, job->unit) != 0)
                return 0;
        job->id = id;
        (void)snprintf(job->result, sizeof(job->result), "%s", result);
        return 0;
}

static int job_watch(sd_bus *bus, struct job *job, sd_bus_slot **ret, struct error *err)
{
        int r = sd_bus_match_signal(bus, ret, sd_bus_is_bus_client(bus) > 0 ? SERVICE : NULL, PATH,
                                    MANAGER, "JobRemoved", on_job_removed, job);

        if (r >= 0)
                r = sd_bus_call_method(bus, SERVICE, PATH, MANAGER, "Subscribe", NULL, NULL, NULL);
        return r < 0 ? error_errno(err, -r, "watch systemd's jobs") : 0;
}

/* The number at the end of the answer, an object path. */
static uint32_t job_id(sd_bus_message *reply)
{
        const char *path = NULL;
        const char *slash;
        uint64_t id = 0;

        if (sd_bus_message_read(reply, "o", &path) < 0)
                return 0;
        slash = strrchr(path, '/');
        return slash && str_to_u64(slash + 1, &id) == 0 && id <= UINT32_MAX ? (uint32_t)id : 0;
}

static int job_wait(sd_bus *bus, const struct job *job, sd_bus_message *reply, struct error *err)
{
        uint64_t deadline = clock_monotonic_ns() + TIMEOUT_NS;
        uint32_t id = job_id(reply);

        if (id == 0)
                return error_set(err, STATUS_UNKNOWN, "'%s': systemd has made no job", job->unit);
        while (job->id != id) {
                uint64_t now = clock_monotonic_ns();
                int r = sd_bus_process(bus, NULL);

                if (r == 0 && now < deadline)
                        r = sd_bus_wait(bus, (deadline - now) / NSEC_PER_USEC + 1);
                else if (r == 0)
                        r = -ETIMEDOUT;
                if (r < 0)
                        return error_errno(err, -r, "'%s': wait for systemd's job", job->unit);
        }
        if (strcmp(job->result, "done") != 0)
                return error_set(err, STATUS_UNKNOWN, "'%s': systemd's job ended as '%s'",
                                 job->unit, job->result);
        return 0;
}

/* ---- calls ---- */

static void reset_failed(sd_bus *bus, const char *unit)
{
        (void)sd_bus_call_method(bus, SERVICE, PATH, MANAGER, "ResetFailedUnit", NULL, NULL, "s",
                                 unit);
}

static int call_start(sd_bus *bus, sd_bus_message *m, const char *unit, sd_bus_message **ret,
                      struct error *err)
{
        _cleanup_bus_error_ sd_bus_error e = SD_BUS_ERROR_NULL;
        int r = sd_bus_call(bus, m, 0, &e, ret);

        return r < 0 ? call_failed(r, &e, "start", unit, err) : 0;
}

static int message_start(sd_bus *bus, struct request *request, sd_bus_message **ret,
                         struct error *err)
{
        int r = sd_bus_message_new_method_call(bus, ret, SERVICE, PATH, MANAGER,
                                               "StartTransientUnit");

        if (r >= 0)
                r = sd_bus_message_append(*ret, "ss", request->unit, "fail");
        if (r < 0)
                return error_errno(err, -r, "start '%s'", request->unit);
        if (request_append(request, *ret, err) < 0)
                return -1;
        r = sd_bus_message_append(*ret, "a(sa(sv))", 0); /* no units beside it */
        return r < 0 ? error_errno(err, -r, "start '%s'", request->unit) : 0;
}

static int read_group(sd_bus *bus, const char *unit, char **ret, struct error *err)
{
        _cleanup_bus_error_ sd_bus_error e = SD_BUS_ERROR_NULL;
        _cleanup_free_ char *path = NULL;
        int r = sd_bus_path_encode(PATH "/unit", unit, &path);

        if (r >= 0)
                r = sd_bus_get_property_string(bus, SERVICE, path, SERVICE ".Scope", "ControlGroup",
                                               &e, ret);
        return r < 0 ? call_failed(r, &e, "read the control group of", unit, err) : 0;
}

int bus_start(sd_bus *bus, struct request *request, char **ret_group, struct error *err)
{
        _cleanup_(message_unref_p) sd_bus_message *m = NULL;
        _cleanup_(message_unref_p) sd_bus_message *again = NULL;
        _cleanup_(message_unref_p) sd_bus_message *reply = NULL;
        _cleanup_(slot_unref_p) sd_bus_slot *slot = NULL;
        struct job job = {.unit = request->unit};
        struct request copy = *request;
        _cleanup_free_ char *properties = strdup(request->properties);
        struct error first = ERROR_INIT;

        if (!properties)
                return error_errno(err, ENOMEM, "start '%s'", request->unit);
        copy.properties = properties;
        if (job_watch(bus, &job, &slot, err) < 0 || message_start(bus, request, &m, err) < 0)
                return -1;
        if (call_start(bus, m, request->unit, &reply, &first) < 0) {
                if (first.code != STATUS_ALREADY_EXISTS) {
                        *err = first;
                        return -1;
                }
                reset_failed(bus, request->unit);
                if (message_start(bus, &copy, &again, err) < 0 ||
                    call_start(bus, again, request->unit, &reply, err) < 0)
                        return -1;
        }
        if (job_wait(bus, &job, reply, err) < 0 ||
            read_group(bus, request->unit, ret_group, err) < 0) {
                (void)bus_stop(bus, request->unit, NULL);
                return -1;
        }
        return 0;
}

int bus_set(sd_bus *bus, struct request *request, struct error *err)
{
        _cleanup_bus_error_ sd_bus_error e = SD_BUS_ERROR_NULL;
        _cleanup_(message_unref_p) sd_bus_message *m = NULL;
        int r = sd_bus_message_new_method_call(bus, &m, SERVICE, PATH, MANAGER,
                                               "SetUnitProperties");

        if (r >= 0)
                r = sd_bus_message_append(m, "sb", request->unit, true);
        if (r < 0)
                return error_errno(err, -r, "set properties of '%s'", request->unit);
        if (request_append(request, m, err) < 0)
                return -1;
        r = sd_bus_call(bus, m, 0, &e, NULL);
        return r < 0 ? call_failed(r, &e, "set properties of", request->unit, err) : 0;
}

int bus_stop(sd_bus *bus, const char *unit, struct error *err)
{
        _cleanup_bus_error_ sd_bus_error e = SD_BUS_ERROR_NULL;
        _cleanup_(message_unref_p) sd_bus_message *reply = NULL;
        _cleanup_(slot_unref_p) sd_bus_slot *slot = NULL;
        struct job job = {.unit = unit};
        int r;

        if (job_watch(bus, &job, &slot, err) < 0)
                return -1;
        r = sd_bus_call_method(bus, SERVICE, PATH, MANAGER, "StopUnit", &e, &reply, "ss", unit,
                               "replace");
        if (r < 0 && sd_bus_error_has_name(&e, NO_UNIT))
                return 0;
        if (r < 0)
                return call_failed(r, &e, "stop", unit, err);
        r = job_wait(bus, &job, reply, err);
        reset_failed(bus, unit);
        return r;
}
