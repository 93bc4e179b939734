// What the reference servers need before their first connection: descriptors and a listener.
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

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

// PATH, or @NAME in the abstract namespace.
static inline socklen_t unix_name(struct sockaddr_un *name, const char *text)
{
    size_t length = strlen(text);
    if (length == 0 || length >= sizeof name->sun_path) {
        fprintf(stderr, "not a unix address: %s\n", text);
        exit(1);
    }
    *name = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(name->sun_path, text, length);
    if (text[0] != '@')
        return sizeof *name;
    name->sun_path[0] = '\0';
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
}

// PORT on 127.0.0.1, or unix: and a Unix socket's address.
static inline int listen_at(const char *where, int socket_flags)
{
    if (strncmp(where, "unix:", 5) != 0)
        return listen_on_loopback(parse_port(where), socket_flags);
    struct sockaddr_un name;
    socklen_t size = unix_name(&name, where + 5);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | socket_flags, 0);
    if (listener < 0)
        fail("socket", errno);
    if (name.sun_path[0] != '\0')
        unlink(name.sun_path);
    if (bind(listener, (struct sockaddr *)&name, size) != 0)
        fail("bind", errno);
    if (listen(listener, 4096) != 0)
        fail("listen", errno);
    return listener;
}
