/* SPDX-License-Identifier: Apache-2.0
 *
 * The JSON of a hook's state: see hook_state.h. It is put twice, once to be measured, so that it
 * takes one piece of the arena.
 */
#include "pkg/engine/hook_state.h"

#include <stdio.h>
#include <string.h>

struct json_text {
        char *text; /* NULL while measuring */
        size_t len;
};

static void json_put(struct json_text *j, const char *s, size_t n)
{
        if (j->text)
                memcpy(j->text + j->len, s, n);
        j->len += n;
}

static void json_put_raw(struct json_text *j, const char *s)
{
        json_put(j, s, strlen(s));
}

static void json_put_string(struct json_text *j, const char *s)
{
        json_put_raw(j, "\"");
        for (; *s; s++) {
                unsigned char c = (unsigned char)*s;
                char escaped[8];

                if (c == '"' || c == '\\') {
                        json_put_raw(j, "\\");
                        json_put(j, s, 1);
                } else if (c < 0x20 || c == 0x7f) {
                        (void)snprintf(escaped, sizeof(escaped), "\\u%04x", c);
                        json_put_raw(j, escaped);
                } else {
                        json_put(j, s, 1);
                }
        }
        json_put_raw(j, "\"");
}

static void json_put_member(struct json_text *j, const char *key, const char *value)
{
        json_put_raw(j, ",");
        json_put_string(j, key);
        json_put_raw(j, ":");
        json_put_string(j, value);
}

static void state_put(struct json_text *j, const struct hook_state *state)
{
        char number[32];

        json_put_raw(j, "{\"ociVersion\":");
        json_put_string(j, state->oci_version);
        json_put_member(j, "id", state->id);
        json_put_member(j, "status", state->status);
        if (state->pid > 0) {
                (void)snprintf(number, sizeof(number), ",\"pid\":%d", (int)state->pid);
                json_put_raw(j, number);
        }
        json_put_member(j, "bundle", state->bundle);
        if (state->n_annotations > 0) {
                json_put_raw(j, ",\"annotations\":{");
                for (size_t i = 0; i < state->n_annotations; i++) {
                        if (i > 0)
                                json_put_raw(j, ",");
                        json_put_string(j, state->annotations[i].key);
                        json_put_raw(j, ":");
                        json_put_string(j, state->annotations[i].value);
                }
                json_put_raw(j, "}");
        }
        json_put_raw(j, "}");
}

/* fds: one name, that of the descriptor which is sent along. */
static void process_state_put(struct json_text *j, const struct hook_state *state, pid_t pid,
                              const char *metadata)
{
        char number[64];

        json_put_raw(j, "{\"ociVersion\":");
        json_put_string(j, state->oci_version);
        (void)snprintf(number, sizeof(number), ",\"fds\":[\"seccompFd\"],\"pid\":%d", (int)pid);
        json_put_raw(j, number);
        if (metadata)
                json_put_member(j, "metadata", metadata);
        json_put_raw(j, ",\"state\":");
        state_put(j, state);
        json_put_raw(j, "}");
}

/* pid 0: the container's state alone. */
static void text_put(struct json_text *j, const struct hook_state *state, pid_t pid,
                     const char *metadata)
{
        if (pid > 0)
                process_state_put(j, state, pid, metadata);
        else
                state_put(j, state);
}

static int format(const struct hook_state *state, pid_t pid, const char *metadata,
                  struct arena *arena, char **ret_json, struct error *err)
{
        struct json_text j = {0};
        size_t len;

        text_put(&j, state, pid, metadata);
        len = j.len;
        j = (struct json_text){.text = arena_alloc(arena, len + 1)};
        if (!j.text)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "container state: no memory");
        text_put(&j, state, pid, metadata);
        j.text[len] = '\0';
        *ret_json = j.text;
        return 0;
}

int hook_state_format(const struct hook_state *state, struct arena *arena, char **ret_json,
                      struct error *err)
{
        return format(state, 0, NULL, arena, ret_json, err);
}

int hook_process_state_format(const struct hook_state *state, pid_t pid, const char *metadata,
                              struct arena *arena, char **ret_json, struct error *err)
{
        return format(state, pid, metadata, arena, ret_json, err);
}
