// Load generator for chat servers: lines to many recipients, every one of them checked.
//
//   chat_load --port PORT [--recipients N] [--senders N] [--burst LINES] [--size BYTES]
//             [--seconds S] [--warm-up S] [--pid SERVER]
//
// Recipients only listen. In each round every sender sends its burst of lines at once, and the next
// round begins when each line has reached all recipients and all other senders. A line that is
// missing, doubled, out of its sender's order or changed ends the program with an error, as does a
// silence of 10 seconds. The result is one line of JSON; with --pid it tells the server's CPU time
// for each delivered line.
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "server_process.h"

enum { longest_line = 1200, most_senders = 64, silence = 10000, header = 32 };

struct peer {
    int socket;
    int sender;            // its number, -1 for a recipient
    unsigned joined;       // of those that came after it
    unsigned expected;     // lines of this round that have not come
    uint32_t next[most_senders];  // number of the next line of each sender
    size_t size;           // of what has come of a line
    char line[longest_line];
};

static struct peer *peers;
static unsigned peer_count, recipients = 1000, senders = 1, burst = 1, line_size = 64;
static uint64_t delivered;
static unsigned missing;  // lines of this round, over all peers
static int epoll;

static _Noreturn void stop(const char *what, const char *detail)
{
    fprintf(stderr, "chat_load: %s: %s\n", what, detail);
    exit(1);
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

// Its sender, its number, and a filling that depends on both.
static void make_line(char *to, int sender, uint32_t number)
{
    memset(to, 'a' + (int)(number + (uint32_t)sender * 7) % 26, line_size);
    to[snprintf(to, header, "%02d %010u ", sender, number)] = '.';
    to[line_size] = '\n';
}

static bool take_notice(struct peer *p, const char *line)
{
    if (strncmp(line, "* welcome", 9) == 0)
        return true;
    size_t length = strlen(line);
    if (length > 7 && strcmp(line + length - 7, " joined") == 0) {
        ++p->joined;
        return true;
    }
    return false;
}

// A line without its end.
static void take_line(struct peer *p, char *line)
{
    if (line[0] == '*') {
        if (!take_notice(p, line))
            stop("unexpected", line);
        return;
    }
    char *text = strstr(line, ": ");
    int sender = -1;
    if (!text || sscanf(text + 2, "%d", &sender) != 1 || sender < 0 || sender >= (int)senders)
        stop("not a line of ours", line);
    char wanted[longest_line];
    make_line(wanted, sender, p->next[sender]);
    wanted[line_size] = '\0';
    if (strcmp(text + 2, wanted) != 0 || sender == p->sender)
        stop("not the next line of its sender", line);
    if (p->expected == 0)
        stop("more lines than were sent", line);
    ++p->next[sender];
    --p->expected;
    --missing;
    ++delivered;
}

static void receive(struct peer *p)
{
    static char buffer[65536 + longest_line];
    memcpy(buffer, p->line, p->size);
    ssize_t n = recv(p->socket, buffer + p->size, 65536, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0)
        stop("a connection has ended", n < 0 ? strerror(errno) : "end of stream");
    char *at = buffer, *end = buffer + p->size + n;
    for (char *newline; (newline = memchr(at, '\n', (size_t)(end - at))); at = newline + 1) {
        *newline = '\0';
        take_line(p, at);
    }
    p->size = (size_t)(end - at);
    if (p->size >= longest_line)
        stop("a line is too long", "over 1200 bytes");
    memcpy(p->line, at, p->size);
}

static void turn(void)
{
    static struct epoll_event events[1024];
    int count = epoll_wait(epoll, events, 1024, silence);
    if (count == 0)
        stop("nothing has come for 10 s", "lines are missing");
    if (count < 0 && errno != EINTR)
        stop("epoll_wait", strerror(errno));
    for (int i = 0; i < count; ++i)
        receive(events[i].data.ptr);
}

static void open_peer(uint16_t port)
{
    struct peer *p = &peers[peer_count];
    p->sender = peer_count < senders ? (int)peer_count : -1;
    p->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (p->socket < 0 || connect(p->socket, (struct sockaddr *)&to, sizeof to) != 0)
        stop("connect", strerror(errno));
    int on = 1;
    setsockopt(p->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = p};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, p->socket, &event) != 0)
        stop("epoll_ctl", strerror(errno));
    ++peer_count;
    // Before the next one comes, all have been told of this one: their number is then known.
    if (peer_count > 1) {
        struct peer *first = &peers[0];
        while (first->joined < peer_count - 1)
            turn();
    }
}

static void play_round(void)
{
    static uint32_t numbers[most_senders];
    char *text = malloc((size_t)burst * (line_size + 1));
    if (!text)
        stop("malloc", "no memory");
    for (unsigned i = 0; i < peer_count; ++i) {
        peers[i].expected = burst * (senders - (peers[i].sender >= 0 ? 1 : 0));
        missing += peers[i].expected;
    }
    for (unsigned s = 0; s < senders; ++s) {
        for (unsigned i = 0; i < burst; ++i)
            make_line(text + i * (line_size + 1), (int)s, numbers[s]++);
        size_t size = (size_t)burst * (line_size + 1);
        if (send(peers[s].socket, text, size, MSG_NOSIGNAL) != (ssize_t)size)
            stop("send", strerror(errno));
    }
    free(text);
    while (missing != 0)
        turn();
}

static double number(const char *text, double least, double most)
{
    char *end;
    double value = strtod(text, &end);
    if (*text == '\0' || *end != '\0' || value < least || value > most)
        stop("not a number in its range", text);
    return value;
}

int main(int argc, char **argv)
{
    static const struct option names[] = {
        {"port", required_argument, NULL, 'p'},    {"recipients", required_argument, NULL, 'r'},
        {"senders", required_argument, NULL, 's'}, {"burst", required_argument, NULL, 'b'},
        {"size", required_argument, NULL, 'z'},    {"seconds", required_argument, NULL, 't'},
        {"warm-up", required_argument, NULL, 'w'}, {"pid", required_argument, NULL, 'i'},
        {0}};
    double seconds = 1, warm_up = 0.2;
    int port = 0, pid = 0;
    for (int option; (option = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        switch (option) {
        case 'p': port = (int)number(optarg, 1, 65535); break;
        case 'r': recipients = (unsigned)number(optarg, 0, 20000); break;
        case 's': senders = (unsigned)number(optarg, 1, most_senders); break;
        case 'b': burst = (unsigned)number(optarg, 1, 200); break;
        case 'z': line_size = (unsigned)number(optarg, header, 1000); break;
        case 't': seconds = number(optarg, 0.01, 600); break;
        case 'w': warm_up = number(optarg, 0, 60); break;
        case 'i': pid = (int)number(optarg, 1, 1e9); break;
        default: return 2;
        }
    }
    if (port == 0)
        stop("usage", "chat_load --port PORT [...], see the source");
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    epoll = epoll_create1(EPOLL_CLOEXEC);
    peers = calloc(recipients + senders, sizeof *peers);
    if (epoll < 0 || !peers)
        stop("set-up", strerror(errno));
    while (peer_count < recipients + senders)
        open_peer((uint16_t)port);
    for (unsigned i = 0; i < peer_count; ++i)
        while (peers[i].joined < peer_count - 1 - i)
            turn();

    double begin = seconds_now();
    while (seconds_now() - begin < warm_up)
        play_round();
    begin = seconds_now();
    double server = server_cpu(pid);
    uint64_t rounds = 0;
    delivered = 0;
    do {
        play_round();
        ++rounds;
    } while (seconds_now() - begin < seconds);
    double elapsed = seconds_now() - begin;
    server = server_cpu(pid) - server;
    printf("{\"recipients\": %u, \"senders\": %u, \"burst\": %u, \"size\": %u, \"rounds\": %llu, "
           "\"delivered\": %llu, \"rate\": %.0f",
           recipients, senders, burst, line_size, (unsigned long long)rounds,
           (unsigned long long)delivered, (double)delivered / elapsed);
    if (pid)
        printf(", \"server_cpu_us\": %.4f", server * 1e6 / (double)delivered);
    printf("}\n");
    return 0;
}
