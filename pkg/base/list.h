/* SPDX-License-Identifier: Apache-2.0
 *
 * An intrusive doubly linked list. The node is embedded in the member, so that entering and leaving
 * a list never allocates and never fails. A node that is in no list points to itself.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct list {
        struct list *prev;
        struct list *next;
};

#define LIST_INIT(name) ((struct list){.prev = &(name), .next = &(name)})

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

static inline void list_init(struct list *l)
{
        l->prev = l;
        l->next = l;
}

static inline bool list_is_empty(const struct list *l)
{
        return l->next == l;
}

static inline void list_append(struct list *l, struct list *node)
{
        node->prev = l->prev;
        node->next = l;
        l->prev->next = node;
        l->prev = node;
}

/* Leaves whatever list the node is in; harmless for a node that is in none. */
static inline void list_remove(struct list *node)
{
        node->prev->next = node->next;
        node->next->prev = node->prev;
        list_init(node);
}

/* Moves all members of from, in order, to the end of to; from is left empty. */
static inline void list_splice(struct list *to, struct list *from)
{
        if (list_is_empty(from))
                return;
        from->next->prev = to->prev;
        from->prev->next = to;
        to->prev->next = from->next;
        to->prev = from->prev;
        list_init(from);
}

#define list_first(l, type, member) \
        (list_is_empty(l) ? NULL : container_of((l)->next, type, member))

#define list_for_each(pos, l, type, member)                                          \
        for (type *pos = container_of((l)->next, type, member); &pos->member != (l); \
             pos = container_of(pos->member.next, type, member))

/* The same; pos may leave the list inside the loop, its successor may not. */
#define list_for_each_safe(pos, l, type, member)                              \
        for (type *pos = container_of((l)->next, type, member),               \
                  *pos##_next = container_of(pos->member.next, type, member); \
             &pos->member != (l);                                             \
             pos = pos##_next, pos##_next = container_of(pos->member.next, type, member))
