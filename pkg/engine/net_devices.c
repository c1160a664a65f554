/* SPDX-License-Identifier: Apache-2.0
 *
 * linux.netDevices, by rtnetlink(7). A device that changes its namespace is closed and loses its
 * addresses, so those are read before and given back afterwards, from a socket that belongs to the
 * container's namespace: a socket stays in the one that it was made in.
 */
#include "pkg/engine/net_devices.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <stdalign.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"

enum {
        REQUEST_MAX = 256,
        ACK_MAX = 1024,   /* an error and the request that it is about */
        REPLY_MAX = 8192, /* of a dump, for a reader that offers no more (NLMSG_GOODSIZE) */
        ADDRESS_MAX = 16, /* bytes of an IPv6 address */
};

/* Flags of an address that are the administrator's; the others are the kernel's findings. */
static const uint32_t flags_kept =
        IFA_F_NODAD | IFA_F_NOPREFIXROUTE | IFA_F_HOMEADDRESS | IFA_F_MCAUTOJOIN;

struct address {
        struct address *next;
        uint8_t family;
        uint8_t prefix_len;
        uint32_t flags;
        uint8_t lens[IFA_BROADCAST + 1]; /* by IFA_*; 0: none */
        uint8_t values[IFA_BROADCAST + 1][ADDRESS_MAX];
};

struct request {
        alignas(struct nlmsghdr) char bytes[REQUEST_MAX];
};

/* ---- netlink ---- */

static struct nlmsghdr *request_init(struct request *r, uint16_t type, uint16_t flags,
                                     const void *body, size_t body_len)
{
        struct nlmsghdr *h = (struct nlmsghdr *)r->bytes;

        memset(r, 0, sizeof(*r));
        h->nlmsg_len = (uint32_t)NLMSG_LENGTH(body_len);
        h->nlmsg_type = type;
        h->nlmsg_flags = flags | NLM_F_REQUEST;
        memcpy(NLMSG_DATA(h), body, body_len);
        return h;
}

/* All attributes together are far below REQUEST_MAX. */
static void request_add(struct nlmsghdr *h, uint16_t type, const void *data, size_t len)
{
        struct rtattr *a = (struct rtattr *)((char *)h + NLMSG_ALIGN(h->nlmsg_len));

        a->rta_type = type;
        a->rta_len = (uint16_t)RTA_LENGTH(len);
        memcpy(RTA_DATA(a), data, len);
        h->nlmsg_len = (uint32_t)(NLMSG_ALIGN(h->nlmsg_len) + RTA_ALIGN(a->rta_len));
}

static ssize_t receive(int sock, char *buf, size_t size)
{
        ssize_t n;

        do {
                n = recv(sock, buf, size, 0);
        } while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : n;
}

/* Sends and waits for the kernel's word on it: 0 or a negative errno. */
static int request_do(int sock, struct nlmsghdr *h)
{
        alignas(struct nlmsghdr) char reply[ACK_MAX];
        const struct nlmsghdr *got = (const struct nlmsghdr *)reply;
        ssize_t n;

        h->nlmsg_flags |= NLM_F_ACK;
        if (send(sock, h, h->nlmsg_len, 0) < 0)
                return -errno;
        n = receive(sock, reply, sizeof(reply));
        if (n < 0)
                return (int)n;
        if ((size_t)n < NLMSG_LENGTH(sizeof(int)) || got->nlmsg_type != NLMSG_ERROR)
                return -EPROTO;
        return ((const struct nlmsgerr *)NLMSG_DATA(got))->error;
}

/* ---- addresses ---- */

static int take_address(const struct nlmsghdr *h, unsigned index, struct arena *arena,
                        struct address **list)
{
        const struct ifaddrmsg *m = NLMSG_DATA(h);
        struct address *a;
        uint32_t flags = m->ifa_flags;
        size_t len;

        if (h->nlmsg_len < NLMSG_LENGTH(sizeof(*m)))
                return -EPROTO;
        if (m->ifa_index != index || m->ifa_scope != RT_SCOPE_UNIVERSE)
                return 0;
        a = arena_calloc(arena, 1, sizeof(*a));
        if (!a)
                return -ENOMEM;
        len = h->nlmsg_len - NLMSG_LENGTH(sizeof(*m));
        for (const struct rtattr *attr = IFA_RTA(m); RTA_OK(attr, len);
             attr = RTA_NEXT(attr, len)) {
                size_t n = RTA_PAYLOAD(attr);

                if (attr->rta_type == IFA_FLAGS && n == sizeof(flags))
                        memcpy(&flags, RTA_DATA(attr), sizeof(flags));
                if (attr->rta_type > IFA_BROADCAST || attr->rta_type == IFA_LABEL ||
                    n > ADDRESS_MAX)
                        continue;
                memcpy(a->values[attr->rta_type], RTA_DATA(attr), n);
                a->lens[attr->rta_type] = (uint8_t)n;
        }
        if (!(flags & IFA_F_PERMANENT))
                return 0;
        a->family = m->ifa_family;
        a->prefix_len = m->ifa_prefixlen;
        a->flags = flags & flags_kept;
        a->next = *list;
        *list = a;
        return 0;
}

/* A negative errno, 0, or 1 at the end of the dump. */
static int take_addresses(const char *reply, size_t n, unsigned index, struct arena *arena,
                          struct address **list)
{
        for (const struct nlmsghdr *h = (const struct nlmsghdr *)reply; NLMSG_OK(h, n);
             h = NLMSG_NEXT(h, n)) {
                int r = 0;

                if (h->nlmsg_type == NLMSG_DONE)
                        return 1;
                if (h->nlmsg_type == NLMSG_ERROR)
                        return ((const struct nlmsgerr *)NLMSG_DATA(h))->error < 0
                                       ? ((const struct nlmsgerr *)NLMSG_DATA(h))->error
                                       : -EPROTO;
                if (h->nlmsg_type == RTM_NEWADDR)
                        r = take_address(h, index, arena, list);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Newest first; the order in which they were given is restored by give_addresses(). */
static int read_addresses(int sock, unsigned index, struct arena *arena, struct address **ret)
{
        const struct ifaddrmsg body = {.ifa_family = AF_UNSPEC};
        char *reply = arena_alloc(arena, REPLY_MAX);
        struct request r;
        const struct nlmsghdr *h = request_init(&r, RTM_GETADDR, NLM_F_DUMP, &body, sizeof(body));
        struct address *reversed = NULL;
        int done = 0;

        if (!reply)
                return -ENOMEM;
        if (send(sock, h, h->nlmsg_len, 0) < 0)
                return -errno;
        while (done == 0) {
                ssize_t n = receive(sock, reply, REPLY_MAX);

                if (n <= 0)
                        return n < 0 ? (int)n : -EPROTO;
                done = take_addresses(reply, (size_t)n, index, arena, &reversed);
        }
        while (reversed) {
                struct address *a = reversed;

                reversed = a->next;
                a->next = *ret;
                *ret = a;
        }
        return done < 0 ? done : 0;
}

static int give_addresses(int sock, unsigned index, const struct address *list)
{
        static const uint16_t attributes[] = {IFA_LOCAL, IFA_ADDRESS, IFA_BROADCAST};

        for (const struct address *a = list; a; a = a->next) {
                const struct ifaddrmsg body = {
                        .ifa_family = a->family,
                        .ifa_prefixlen = a->prefix_len,
                        .ifa_scope = RT_SCOPE_UNIVERSE,
                        .ifa_index = index,
                };
                struct request r;
                struct nlmsghdr *h = request_init(&r, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &body,
                                                  sizeof(body));
                int result;

                for (size_t i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++) {
                        if (a->lens[attributes[i]] > 0)
                                request_add(h, attributes[i], a->values[attributes[i]],
                                            a->lens[attributes[i]]);
                }
                request_add(h, IFA_FLAGS, &a->flags, sizeof(a->flags));
                result = request_do(sock, h);
                if (result < 0 && result != -EEXIST)
                        return result;
        }
        return 0;
}

/* ---- devices ---- */

/*
 * The names under which devices arrive. A template ("eth%d") is filled in by the kernel where the
 * name is to be, and would not be known here afterwards: such a device travels under a name of ours
 * and is renamed by its index.
 */
static const char **arrival_names(const struct oci_net_device *devices, size_t n,
                                  struct arena *arena)
{
        const char **names = arena_calloc(arena, n, sizeof(*names));

        for (size_t i = 0; names && i < n; i++) {
                names[i] = strchr(devices[i].name, '%') ? arena_printf(arena, "belay-%zu", i)
                                                        : devices[i].name;
                if (!names[i])
                        return NULL;
        }
        return names;
}

static int rename_device(int sock, unsigned index, const char *name)
{
        const struct ifinfomsg body = {.ifi_index = (int)index};
        struct request r;
        struct nlmsghdr *h = request_init(&r, RTM_NEWLINK, 0, &body, sizeof(body));

        request_add(h, IFLA_IFNAME, name, strlen(name) + 1);
        return request_do(sock, h);
}

static int move_device(int sock, unsigned index, const char *name, int netns_fd)
{
        const struct ifinfomsg body = {.ifi_family = AF_UNSPEC, .ifi_index = (int)index};
        struct request r;
        struct nlmsghdr *h = request_init(&r, RTM_NEWLINK, 0, &body, sizeof(body));
        uint32_t fd = (uint32_t)netns_fd;

        request_add(h, IFLA_NET_NS_FD, &fd, sizeof(fd));
        request_add(h, IFLA_IFNAME, name, strlen(name) + 1);
        return request_do(sock, h);
}

static int set_up(int sock, unsigned index)
{
        const struct ifinfomsg body = {
                .ifi_index = (int)index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
        struct request r;

        return request_do(sock, request_init(&r, RTM_NEWLINK, 0, &body, sizeof(body)));
}

static int fail(const struct oci_net_device *d, int r, const char *what, struct error *err)
{
        return error_errno(err, -r, "linux.netDevices: '%s': %s", d->host_name, what);
}

static int send_away(const struct oci_net_device *devices, const char *const *names, size_t n,
                     int netns_fd, struct arena *arena, struct address **addresses,
                     struct error *err)
{
        _cleanup_close_ int sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
        unsigned *indexes = arena_calloc(arena, n, sizeof(*indexes));

        if (!indexes)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "linux.netDevices: no memory");
        if (sock < 0)
                return error_errno(err, errno, "linux.netDevices: open a netlink socket");
        /* All are looked at before any is moved. */
        for (size_t i = 0; i < n; i++) {
                int r;

                indexes[i] = if_nametoindex(devices[i].host_name);
                if (indexes[i] == 0)
                        return fail(&devices[i], -errno, "find it", err);
                r = read_addresses(sock, indexes[i], arena, &addresses[i]);
                if (r < 0)
                        return fail(&devices[i], r, "read its addresses", err);
        }
        for (size_t i = 0; i < n; i++) {
                int r = move_device(sock, indexes[i], names[i], netns_fd);

                if (r < 0)
                        return fail(&devices[i], r, "move it into the container", err);
        }
        return 0;
}

/* In the container's network namespace. The kernel would move a device first and then find that it
 * cannot have the name. */
static int check_names(const struct oci_net_device *devices, const char *const *names, size_t n,
                       struct error *err)
{
        for (size_t i = 0; i < n; i++) {
                if (if_nametoindex(names[i]) != 0)
                        return error_set(err, STATUS_INVALID_ARGUMENT,
                                         "linux.netDevices: '%s': the container's network has a "
                                         "device '%s' already",
                                         devices[i].host_name, names[i]);
        }
        return 0;
}

/* In the container's network namespace. */
static int receive_there(const struct oci_net_device *devices, const char *const *names, size_t n,
                         struct address *const *addresses, struct error *err)
{
        _cleanup_close_ int sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

        if (sock < 0)
                return error_errno(err, errno, "linux.netDevices: open a netlink socket");
        for (size_t i = 0; i < n; i++) {
                unsigned index = if_nametoindex(names[i]);
                int r = 0;

                if (index == 0)
                        return fail(&devices[i], -errno, "find it in the container", err);
                if (names[i] != devices[i].name)
                        r = rename_device(sock, index, devices[i].name);
                if (r < 0)
                        return fail(&devices[i], r, "give it a name", err);
                r = give_addresses(sock, index, addresses[i]);
                if (r < 0)
                        return fail(&devices[i], r, "give it its addresses", err);
                r = set_up(sock, index);
                if (r < 0)
                        return fail(&devices[i], r, "set it up", err);
        }
        return 0;
}

int net_devices_move(const struct oci_net_device *devices, size_t n, int netns_fd,
                     struct arena *arena, struct error *err)
{
        _cleanup_close_ int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
        struct address **addresses = arena_calloc(arena, n, sizeof(struct address *));
        const char **names = arrival_names(devices, n, arena);
        int r;

        if (!addresses || !names)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "linux.netDevices: no memory");
        if (own < 0)
                return error_errno(err, errno, "open /proc/self/ns/net");
        if (setns(netns_fd, CLONE_NEWNET) < 0)
                return error_errno(err, errno,
                                   "linux.netDevices: join the container's network namespace");
        r = check_names(devices, names, n, err);
        if (setns(own, CLONE_NEWNET) < 0 && r == 0)
                return error_errno(err, errno, "return to the network namespace");
        if (r < 0 || send_away(devices, names, n, netns_fd, arena, addresses, err) < 0)
                return -1;
        if (setns(netns_fd, CLONE_NEWNET) < 0)
                return error_errno(err, errno,
                                   "linux.netDevices: join the container's network namespace");
        r = receive_there(devices, names, n, addresses, err);
        if (setns(own, CLONE_NEWNET) < 0 && r == 0)
                return error_errno(err, errno, "return to the network namespace");
        return r;
}
