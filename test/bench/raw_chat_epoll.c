// The chat of samples/README.md by hand on epoll: the reference of chat figures.
//
//   raw_chat_epoll PORT
//
// Each line is formatted once and written to each recipient at once by send(2); what a socket does
// not take is buffered. Commands other than /quit are left out: they are no part of the figures.
#define _GNU_SOURCE
#include <stdbool.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "listen.h"

enum { longest_line = 1000, most_waiting = 1 << 18, events_at_once = 512 };

struct client {
    int socket;
    bool watched;    // for EPOLLOUT
    bool broken;
    unsigned place;  // in clients
    unsigned number;
    unsigned long missed;
    size_t partial_size;
    char *waiting;
    size_t waiting_size;
    char partial[longest_line + 2];
};

static struct client **clients;
static unsigned client_count, client_room, guests;
static int epoll;
static struct client *broken[events_at_once * 4];
static unsigned broken_count;

static void give_up(struct client *c)
{
    if (c->broken || broken_count == sizeof broken / sizeof *broken)
        return;
    c->broken = true;
    broken[broken_count++] = c;
}

static void watch(struct client *c, bool output)
{
    struct epoll_event event = {.events = EPOLLIN | (output ? EPOLLOUT : 0), .data.ptr = c};
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, c->socket, &event) != 0)
        fail("epoll_ctl", errno);
    c->watched = output;
}

static void keep(struct client *c, const char *bytes, size_t size)
{
    char *longer = realloc(c->waiting, c->waiting_size + size);
    if (!longer)
        fail("realloc", ENOMEM);
    memcpy(longer + c->waiting_size, bytes, size);
    c->waiting = longer;
    c->waiting_size += size;
    if (!c->watched)
        watch(c, true);
}

static void tell(struct client *c, const char *line, size_t size)
{
    if (c->waiting_size > most_waiting) {
        ++c->missed;
        return;
    }
    if (c->waiting_size != 0) {
        keep(c, line, size);
        return;
    }
    ssize_t n = send(c->socket, line, size, MSG_NOSIGNAL);
    if (n == (ssize_t)size)
        return;
    if (n < 0 && errno != EAGAIN)
        give_up(c);
    else
        keep(c, line + (n > 0 ? n : 0), size - (size_t)(n > 0 ? n : 0));
}

static void tell_others(const struct client *who, const char *line, size_t size)
{
    for (unsigned i = 0; i < client_count; ++i)
        if (clients[i] != who && !clients[i]->broken)
            tell(clients[i], line, size);
}

static void flush(struct client *c)
{
    ssize_t n = send(c->socket, c->waiting, c->waiting_size, MSG_NOSIGNAL);
    if (n < 0) {
        if (errno != EAGAIN)
            give_up(c);
        return;
    }
    c->waiting_size -= (size_t)n;
    memmove(c->waiting, c->waiting + n, c->waiting_size);
    if (c->waiting_size != 0)
        return;
    watch(c, false);
    if (c->missed != 0) {
        char note[64];
        int size = snprintf(note, sizeof note, "* you missed %lu lines\n", c->missed);
        c->missed = 0;
        tell(c, note, (size_t)size);
    }
}

static void enter(int socket)
{
    struct client *c = calloc(1, sizeof *c);
    if (client_count == client_room) {
        client_room = client_room ? 2 * client_room : 64;
        clients = realloc(clients, client_room * sizeof *clients);
    }
    if (!c || !clients)
        fail("enter", ENOMEM);
    c->socket = socket;
    c->number = ++guests;
    c->place = client_count;
    clients[client_count++] = c;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, socket, &event) != 0)
        fail("epoll_ctl", errno);
    char text[64];
    int size = snprintf(text, sizeof text, "* welcome, guest%u; try /help\n", c->number);
    tell(c, text, (size_t)size);
    size = snprintf(text, sizeof text, "* guest%u joined\n", c->number);
    tell_others(c, text, (size_t)size);
}

static void leave(struct client *c)
{
    clients[c->place] = clients[--client_count];
    clients[c->place]->place = c->place;
    close(c->socket);
    char text[64];
    int size = snprintf(text, sizeof text, "* guest%u left\n", c->number);
    tell_others(NULL, text, (size_t)size);
    free(c->waiting);
    free(c);
}

// One line without its end.
static void hear(struct client *c, const char *text, size_t size)
{
    char line[longest_line + 64];
    if (size > 0 && text[size - 1] == '\r')
        --size;
    if (size == 0)
        return;
    if (size == 5 && memcmp(text, "/quit", 5) == 0) {
        give_up(c);
        return;
    }
    int head = snprintf(line, sizeof line, "guest%u: ", c->number);
    for (size_t i = 0; i < size; ++i) {
        unsigned char byte = (unsigned char)text[i];
        line[(size_t)head + i] = byte < 0x20 || byte == 0x7f ? ' ' : (char)byte;
    }
    line[(size_t)head + size] = '\n';
    tell_others(c, line, (size_t)head + size + 1);
}

static void receive(struct client *c)
{
    static char buffer[65536 + longest_line + 2];
    memcpy(buffer, c->partial, c->partial_size);
    ssize_t n = recv(c->socket, buffer + c->partial_size, 65536, 0);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN)
            give_up(c);
        return;
    }
    const char *at = buffer, *end = buffer + c->partial_size + n;
    while (!c->broken) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        if (!newline)
            break;
        if (newline - at <= longest_line)
            hear(c, at, (size_t)(newline - at));
        at = newline + 1;
    }
    size_t rest = (size_t)(end - at);
    c->partial_size = rest < sizeof c->partial ? rest : sizeof c->partial;
    memcpy(c->partial, at, c->partial_size);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: raw_chat_epoll PORT\n");
        return 2;
    }
    raise_descriptor_limit();
    int listener = listen_on_loopback(parse_port(argv[1]), SOCK_NONBLOCK);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN};
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) != 0)
        fail("epoll", errno);
    for (;;) {
        static struct epoll_event events[events_at_once];
        int count = epoll_wait(epoll, events, events_at_once, -1);
        if (count < 0 && errno != EINTR)
            fail("epoll_wait", errno);
        for (int i = 0; i < count; ++i) {
            struct client *c = events[i].data.ptr;
            if (!c) {
                int accepted = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
                if (accepted >= 0)
                    enter(accepted);
                continue;
            }
            if (!c->broken && (events[i].events & EPOLLOUT) && c->waiting_size != 0)
                flush(c);
            if (!c->broken && (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
                receive(c);
        }
        while (broken_count != 0)
            leave(broken[--broken_count]);
    }
}
