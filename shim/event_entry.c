/* SPDX-License-Identifier: Apache-2.0
 *
 * See event_entry.h. The bytes come from a disk, so nothing of them is believed: not a length, and
 * not that the message is whole.
 */
#include "shim/event_entry.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/clock.h"

#include "belay/state/v1/shim.pb-c.h"

#define ENTRY_MAGIC UINT32_C(0x76656231)

static_assert(offsetof(struct event_entry_head, live) == EVENT_ENTRY_LIVE_AT, "");
static_assert(sizeof(struct event_entry_head) == 12, "a part of the layout");

static struct event_entry_head head_of(size_t len)
{
        return (struct event_entry_head){
                .magic = htole32(ENTRY_MAGIC),
                .len = htole32((uint32_t)len),
                .live = 1,
        };
}

uint8_t *event_entry_pack(const struct task_event *event, size_t *ret_len)
{
        Belay__State__V1__Event m = BELAY__STATE__V1__EVENT__INIT;
        struct event_entry_head head;
        uint8_t *buf;
        size_t len;

        m.seq = event->seq;
        m.topic = (char *)event->topic;
        m.type_url = (char *)event->type_url;
        m.at_ns = (int64_t)clock_timespec_ns(&event->at);
        m.data.data = (uint8_t *)event->data;
        m.data.len = event->len;
        len = belay__state__v1__event__get_packed_size(&m);
        buf = malloc(sizeof(head) + len);
        if (!buf)
                return NULL;
        head = head_of(len);
        memcpy(buf, &head, sizeof(head));
        (void)belay__state__v1__event__pack(&m, buf + sizeof(head));
        *ret_len = sizeof(head) + len;
        return buf;
}

size_t event_entry_pack_stub(const struct task_event *event, uint8_t ret[static EVENT_STUB_BYTES])
{
        Belay__State__V1__Event m = BELAY__STATE__V1__EVENT__INIT;
        struct event_entry_head head;
        size_t len;

        m.seq = event->seq;
        len = belay__state__v1__event__get_packed_size(&m);
        assert(sizeof(head) + len <= EVENT_STUB_BYTES);
        head = head_of(len);
        memcpy(ret, &head, sizeof(head));
        (void)belay__state__v1__event__pack(&m, ret + sizeof(head));
        return sizeof(head) + len;
}

/* An event of its own from what was read; its texts lie behind its data. NULL without memory. */
static struct task_event *event_of(const Belay__State__V1__Event *m)
{
        size_t topic_len = strlen(m->topic) + 1;
        size_t type_len = strlen(m->type_url) + 1;
        struct task_event *event = task_event_new(m->data.len + topic_len + type_len);
        char *text;

        if (!event)
                return NULL;
        if (m->data.len > 0)
                memcpy(event->data, m->data.data, m->data.len);
        event->len = m->data.len;
        text = (char *)event->data + m->data.len;
        event->topic = memcpy(text, m->topic, topic_len);
        event->type_url = memcpy(text + topic_len, m->type_url, type_len);
        event->at = clock_ns_timespec((uint64_t)m->at_ns);
        event->seq = m->seq;
        return event;
}

/* protobuf-c says of a message that there is no memory for what it says of one that is damaged. */
static void *noting_alloc(void *has_failed, size_t size)
{
        void *p = malloc(size);

        *(bool *)has_failed |= !p;
        return p;
}

static void noting_free(void *has_failed, void *p)
{
        (void)has_failed;
        free(p);
}

/* 0 or a negative errno. */
static int event_read(const uint8_t *body, size_t len, struct task_event **ret)
{
        bool has_failed = false;
        ProtobufCAllocator allocator = {noting_alloc, noting_free, &has_failed};
        Belay__State__V1__Event *m = belay__state__v1__event__unpack(&allocator, len, body);

        if (!m)
                return has_failed ? -ENOMEM : -EBADMSG;
        *ret = event_of(m);
        belay__state__v1__event__free_unpacked(m, &allocator);
        return *ret ? 0 : -ENOMEM;
}

int event_entry_read(const uint8_t *text, size_t len, size_t at, struct task_event **ret,
                     size_t *ret_len)
{
        struct event_entry_head head;
        size_t body;
        int r;

        *ret = NULL;
        if (at == len)
                return 0;
        if (len - at < sizeof(head))
                return -EBADMSG;
        memcpy(&head, text + at, sizeof(head));
        body = le32toh(head.len);
        if (le32toh(head.magic) != ENTRY_MAGIC || body > len - at - sizeof(head))
                return -EBADMSG;
        *ret_len = sizeof(head) + body;
        if (!head.live)
                return 1;
        r = event_read(text + at + sizeof(head), body, ret);
        return r < 0 ? r : 1;
}
