// What both reference servers need before their first connection: descriptors and a listener.
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

static inline _Noreturn void fail(const char *verb, int error)
{
    fprintf(stderr, "%s: %s\n", verb, strerror(error));
    exit(1);
}

// Raises the soft limit of descriptors to the hard one and returns it.
static inline unsigned raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 1024;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur > 1000000 ? 1000000 : (unsigned)limit.rlim_cur;
}

static inline uint16_t parse_port(const char *text)
{
    char *end;
    unsigned long port = strtoul(text, &end, 10);
    if (*text == '\0' || *end != '\0' || port == 0 || port > 65535) {
        fprintf(stderr, "not a port: %s\n", text);
        exit(1);
    }
    return (uint16_t)port;
}

// TCP_NODELAY is set here because accepted sockets inherit it: no call per connection.
static inline int listen_on_loopback(uint16_t port, int socket_flags)
{
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | socket_flags, 0);
    if (listener < 0)
        fail("socket", errno);
    int on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0)
        fail("bind", errno);
    if (listen(listener, 4096) != 0)
        fail("listen", errno);
    return listener;
}
