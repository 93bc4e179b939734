// The best hand-written epoll echo server: edge-triggered, one buffer for all connections.
//
//   raw_epoll PORT        echoes on 127.0.0.1:PORT until a signal ends it
//   raw_epoll unix:PATH   the same on a Unix socket; @NAME is one of the abstract namespace
//
// Both directions are registered once, at accept, so a message costs one recv(2) and one send(2)
// and a share of one epoll_wait(2). What the peer does not take is kept on the heap, and nothing
// more is read from it until that is gone: TCP's own flow control bounds a peer that never reads.
#define _GNU_SOURCE
#include <errno.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "listen.h"

enum {
    buffer_size = 16384,
    event_count = 1024,
    // Reads in a row from one connection before the others get their turn.
    fair_reads = 16,
};

struct connection {
    int socket;
    unsigned char *rest;  // not yet sent
    size_t rest_length;
    size_t rest_sent;
};

static const uint32_t both_ways = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;

static unsigned char buffer[buffer_size];
static int poller;
static int listener;
static bool accept_paused;

static void accept_all(void)
{
    for (;;) {
        int socket = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (socket < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (socket < 0) {
            // Out of descriptors: the edge is spent, so the next close has to try again.
            accept_paused = errno != EAGAIN;
            return;
        }
        struct connection *peer = calloc(1, sizeof *peer);
        if (!peer)
            fail("calloc", ENOMEM);
        peer->socket = socket;
        struct epoll_event event = {.events = both_ways, .data.ptr = peer};
        if (epoll_ctl(poller, EPOLL_CTL_ADD, socket, &event) != 0)
            fail("epoll_ctl", errno);
    }
}

static void close_connection(struct connection *peer)
{
    close(peer->socket);
    free(peer->rest);
    free(peer);
    if (accept_paused)
        accept_all();
}

// Bytes taken by the socket, or -1 when it is broken.
static ssize_t send_some(int socket, const unsigned char *data, size_t length)
{
    ssize_t sent;
    do
        sent = send(socket, data, length, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 && errno == EAGAIN ? 0 : sent;
}

static bool keep_rest(struct connection *peer, size_t from, size_t to)
{
    peer->rest_length = to - from;
    peer->rest_sent = 0;
    peer->rest = malloc(peer->rest_length);
    if (!peer->rest)
        return false;
    memcpy(peer->rest, buffer + from, peer->rest_length);
    return true;
}

// False when the connection is over. Sets *drained when nothing is left to send.
static bool send_rest(struct connection *peer, bool *drained)
{
    ssize_t sent = send_some(peer->socket, peer->rest + peer->rest_sent,
                             peer->rest_length - peer->rest_sent);
    if (sent < 0)
        return false;
    peer->rest_sent += (size_t)sent;
    *drained = peer->rest_sent == peer->rest_length;
    if (*drained) {
        free(peer->rest);
        peer->rest = NULL;
    }
    return true;
}

// False when the connection is over.
static bool echo(struct connection *peer, uint32_t events)
{
    for (int reads = 0; reads < fair_reads; reads++) {
        ssize_t received = recv(peer->socket, buffer, buffer_size, 0);
        if (received < 0 && errno == EINTR)
            continue;
        if (received <= 0)
            return received < 0 && errno == EAGAIN;
        size_t length = (size_t)received;
        ssize_t sent = send_some(peer->socket, buffer, length);
        if (sent < 0)
            return false;
        if ((size_t)sent < length)
            return keep_rest(peer, (size_t)sent, length);
        // A short read emptied the socket: what comes later is a new edge. The end of the stream
        // may have been part of this one.
        if (length < buffer_size && !(events & EPOLLRDHUP))
            return true;
    }
    // Ask for the edge again: there may be more.
    struct epoll_event event = {.events = both_ways, .data.ptr = peer};
    return epoll_ctl(poller, EPOLL_CTL_MOD, peer->socket, &event) == 0;
}

static void on_event(struct connection *peer, uint32_t events)
{
    if (peer->rest) {
        bool drained = false;
        if (!send_rest(peer, &drained)) {
            close_connection(peer);
            return;
        }
        if (!drained)
            return;
        // Edges that came while nothing was read are lost: read to the very end.
        events |= EPOLLIN | EPOLLRDHUP;
    }
    if (!(events & ~(uint32_t)EPOLLOUT))
        return;
    if (!echo(peer, events))
        close_connection(peer);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: raw_epoll PORT|unix:PATH|unix:@NAME\n");
        return 1;
    }
    raise_descriptor_limit();
    listener = listen_at(argv[1], SOCK_NONBLOCK);
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (poller < 0)
        fail("epoll_create1", errno);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event) != 0)
        fail("epoll_ctl", errno);
    static struct epoll_event events[event_count];
    for (;;) {
        int count = epoll_wait(poller, events, event_count, -1);
        if (count < 0 && errno != EINTR)
            fail("epoll_wait", errno);
        for (int i = 0; i < count; i++) {
            if (!events[i].data.ptr)
                accept_all();
            else
                on_event(events[i].data.ptr, events[i].events);
        }
    }
}
