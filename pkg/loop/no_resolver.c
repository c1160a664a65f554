/* SPDX-License-Identifier: Apache-2.0
 *
 * For static executables only. libevent's evutil.o refers to the resolver, though nothing here ever
 * resolves a name, and glibc's would bring NSS with it: some 300 KiB of text, and shared objects
 * that it would load at run time. These take its place in the link; a call would fail.
 */
#include <netdb.h>
#include <stddef.h>

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **ret)
{
        (void)name;
        (void)service;
        (void)hints;
        (void)ret;
        return EAI_FAIL;
}

void freeaddrinfo(struct addrinfo *info)
{
        (void)info;
}

const char *gai_strerror(int code)
{
        (void)code;
        return "this program resolves no names";
}

struct protoent *getprotobynumber(int number)
{
        (void)number;
        return NULL;
}

struct servent *getservbyname(const char *name, const char *protocol)
{
        (void)name;
        (void)protocol;
        return NULL;
}
