// Load generator for echo servers: a closed loop over many connections that checks every byte.
//
//   load --port PORT|--unix PATH|--unix @NAME [--mode echo|udp|accept|idle] [--connections N]
//        [--size BYTES] [--seconds S] [--warm-up S] [--messages N] [--until-closed] [--pid SERVER]
//
//   echo     each connection sends a message, waits for all of it to come back, sends the next
//   udp      the same with datagrams: each comes back whole; what is lost is sent again, and told
//   accept   N at a time: connect, one message and its echo, close
//   idle     opens N connections with one echo each and reports what the server's memory grew by
//
// It ends after the warm-up and the measured seconds; or after exactly --messages echoes; or, with
// --until-closed (echo and udp only, no warm-up), when the server closes a connection, at the
// latest after the seconds. It ends with an error when a byte is wrong, a connection ends too
// early, or nothing comes back for 10 seconds. With --pid the server's CPU time and memory are
// reported too. The result is one line of JSON.
//
// samples/load is another, for any echo server, by a schedule too, and written on rondo; this one
// stays for the bench's rows, as what measures rondo there is not to change with it.
//
// Each connection sends its own stretch of one pseudo-random pattern, so that bytes of another
// connection, or of another place in the stream, are noticed. The client is an io_uring one itself
// so that it costs less than the server it shares a core with.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "histogram.h"
#include "server_process.h"

enum {
    max_message = 1 << 20,
    max_connections = 60000,
    pattern_period = 65521,  // prime: no message size comes round to the same place soon
    greeting_size = 64,
    batch = 64,
    silence_limit = 10,  // seconds
    // When nothing moves on this host for so long, what has not come back is lost.
    loss_time = 50000000,  // nanoseconds
    // One source address has 28,000 ports; several leave room for those still being closed.
    source_addresses = 8,
};

struct options {
    const char *mode;
    uint16_t port;
    const char *unix_address;  // instead of the port
    unsigned connections;
    unsigned size;
    double seconds;
    double warm_up;
    uint64_t messages;  // 0: until the seconds are over
    bool until_closed;
    int pid;
};

struct client {
    int socket;
    unsigned index;
    unsigned send_at;     // places in the pattern
    unsigned receive_at;
    unsigned received;    // of the current message
    uint64_t sent_time;
    bool waiting;         // for an echo
};

static struct options options = {.mode = "echo", .connections = 1, .size = 64, .seconds = 1.0,
                                 .warm_up = 0.2};
// A period and one message more, so that every message is contiguous.
static unsigned char pattern[pattern_period + max_message];
static struct client *clients;
static struct io_uring ring;

static struct histogram latencies;
static uint64_t now;  // nanoseconds
static uint64_t started_messages;
static uint64_t messages;
static uint64_t last_message_time;

static uint64_t resent;  // datagrams that were lost
static bool closed;     // by the server
static bool measuring;  // the warm-up is over
static uint64_t begin_time;  // of the warm-up, then of the measured stretch
static uint64_t begin_messages;
static double begin_server_cpu;
static double begin_client_cpu;

static _Noreturn void fail(const char *verb, unsigned index, int error)
{
    fprintf(stderr, "load: connection %u: %s: %s\n", index, verb,
            error == 0 ? "unexpected end of the stream" : strerror(error));
    exit(2);
}

static uint64_t clock_now(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void fill_pattern(void)
{
    uint64_t state = 0x9e3779b97f4a7c15u;
    for (unsigned i = 0; i < pattern_period; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        pattern[i] = (unsigned char)(state >> 56);
    }
    for (unsigned i = pattern_period; i < sizeof pattern; i++)
        pattern[i] = pattern[i - pattern_period];
}

static void check(struct client *client, const unsigned char *data, unsigned length)
{
    if (memcmp(data, pattern + client->receive_at, length) != 0) {
        fprintf(stderr, "load: connection %u: wrong byte in the echo\n", client->index);
        exit(3);
    }
    client->receive_at = (client->receive_at + length) % pattern_period;
}

static struct sockaddr_in loopback(uint32_t host, uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + host);
    return address;
}

static bool is_udp(void)
{
    return strcmp(options.mode, "udp") == 0;
}

static union {
    struct sockaddr any;
    struct sockaddr_in internet;
    struct sockaddr_un local;
} server_name;
static socklen_t server_name_size;

static void set_server(void)
{
    if (!options.unix_address) {
        server_name.internet = loopback(0, options.port);
        server_name_size = sizeof server_name.internet;
        return;
    }
    size_t length = strlen(options.unix_address);
    if (length == 0 || length >= sizeof server_name.local.sun_path)
        fail("the unix address", 0, ENAMETOOLONG);
    server_name.local.sun_family = AF_UNIX;
    memcpy(server_name.local.sun_path, options.unix_address, length);
    server_name_size = sizeof server_name.local;
    if (options.unix_address[0] == '@') {
        server_name.local.sun_path[0] = '\0';
        server_name_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    }
}

static int bound_socket(unsigned index)
{
    if (options.unix_address) {
        int made = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (made < 0)
            fail("socket", index, errno);
        return made;
    }
    int socket_ = socket(AF_INET, (is_udp() ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
    if (socket_ < 0)
        fail("socket", index, errno);
    int on = 1;
    // Picks the port at connect(2), by the whole 4-tuple.
    setsockopt(socket_, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct sockaddr_in source = loopback(index % source_addresses, 0);
    if (bind(socket_, (struct sockaddr *)&source, sizeof source) != 0)
        fail("bind", index, errno);
    return socket_;
}

static void greet(struct client *client, unsigned length)
{
    ssize_t sent = send(client->socket, pattern + client->send_at, length, MSG_NOSIGNAL);
    if (sent != (ssize_t)length)
        fail("send", client->index, sent < 0 ? errno : 0);
    client->send_at = (client->send_at + length) % pattern_period;
}

static void await_greeting(struct client *client, unsigned length)
{
    unsigned char echo[greeting_size];
    ssize_t received = recv(client->socket, echo, length, MSG_WAITALL);
    if (received != (ssize_t)length)
        fail("recv", client->index, received < 0 ? errno : 0);
    check(client, echo, length);
}

// One short echo each, batch by batch, so that the server's backlog never overflows and all
// connections are in its hands before anything is measured.
static void open_all(void)
{
    unsigned length = options.size < greeting_size ? options.size : greeting_size;
    struct timeval patience = {.tv_sec = silence_limit};
    for (unsigned first = 0; first < options.connections; first += batch) {
        unsigned end = first + batch < options.connections ? first + batch : options.connections;
        for (unsigned i = first; i < end; i++) {
            struct client *client = &clients[i];
            client->socket = bound_socket(i);
            setsockopt(client->socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
            if (connect(client->socket, &server_name.any, server_name_size) != 0)
                fail("connect", i, errno);
            greet(client, length);
        }
        for (unsigned i = first; i < end; i++)
            await_greeting(&clients[i], length);
    }
}

static double client_cpu(void)
{
    return (double)clock_now(CLOCK_PROCESS_CPUTIME_ID) * 1e-9;
}

static void mark_begin(void)
{
    histogram_clear(&latencies);
    begin_messages = messages;
    begin_server_cpu = server_cpu(options.pid);
    begin_client_cpu = client_cpu();
    begin_time = now = clock_now(CLOCK_MONOTONIC);
}

static void report(void)
{
    now = clock_now(CLOCK_MONOTONIC);
    double server = server_cpu(options.pid) - begin_server_cpu;
    double client = client_cpu() - begin_client_cpu;
    double seconds = (double)(now - begin_time) * 1e-9;
    double measured = (double)(messages - begin_messages);
    if (measured == 0) {
        fprintf(stderr, "load: no message was echoed in the measured time\n");
        exit(2);
    }
    printf("{\"mode\": \"%s\", \"connections\": %u, \"size\": %u, \"seconds\": %.3f, "
           "\"messages\": %llu, \"rate\": %.0f, \"p50_us\": %.1f, \"p99_us\": %.1f, "
           "\"p999_us\": %.1f, \"client_cpu_us\": %.4f",
           options.mode, options.connections, options.size, seconds,
           (unsigned long long)(messages - begin_messages), measured / seconds,
           histogram_percentile(&latencies, 0.5) / 1000,
           histogram_percentile(&latencies, 0.99) / 1000,
           histogram_percentile(&latencies, 0.999) / 1000, client * 1e6 / measured);
    if (options.pid > 0)
        printf(", \"server_cpu_us\": %.4f, \"server_utilisation\": %.3f, \"server_rss_kib\": %ld",
               server * 1e6 / measured, server / seconds, server_memory(options.pid));
    if (is_udp())
        printf(", \"resent\": %llu", (unsigned long long)resent);
    printf("}\n");
}

// One echo came back. True when another message is to be sent.
static bool count_message(struct client *client)
{
    now = clock_now(CLOCK_MONOTONIC);
    histogram_add(&latencies, now - client->sent_time);
    last_message_time = now;
    messages++;
    return options.messages == 0 || started_messages < options.messages;
}

// Once per turn. True when the run is over.
static bool is_over(bool idle_turn)
{
    if (idle_turn)
        now = clock_now(CLOCK_MONOTONIC);
    if (now - last_message_time > silence_limit * 1000000000ull) {
        fprintf(stderr, "load: nothing came back for %d seconds\n", silence_limit);
        exit(2);
    }
    if (closed)
        return true;
    if (options.messages > 0)
        return messages == options.messages;
    if (measuring)
        return (double)(now - begin_time) >= options.seconds * 1e9;
    if ((double)(now - begin_time) >= options.warm_up * 1e9) {
        measuring = true;
        mark_begin();
    }
    return false;
}

static struct io_uring_sqe *next_entry(void)
{
    struct io_uring_sqe *entry;
    while (!(entry = io_uring_get_sqe(&ring)))
        io_uring_submit(&ring);
    return entry;
}

static void set_up_ring(void)
{
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE,
        .cq_entries = 16384,
    };
    int result = io_uring_queue_init_params(4096, &ring, &params);
    if (result < 0)
        fail("io_uring_setup", 0, -result);
    io_uring_register_ring_fd(&ring);
}

static unsigned submit_and_wait(void)
{
    struct __kernel_timespec patience = {.tv_nsec = 20000000};
    struct io_uring_cqe *first;
    int result = io_uring_submit_and_wait_timeout(&ring, &first, 1, &patience, NULL);
    if (result < 0 && result != -ETIME && result != -EINTR && result != -EAGAIN)
        fail("io_uring_enter", 0, -result);
    return io_uring_cq_ready(&ring);
}

static struct io_uring_cqe *completion_at(unsigned offset)
{
    return &ring.cq.cqes[(*ring.cq.khead + offset) & *ring.cq.kring_mask];
}

// --- echo

enum { tag_receive, tag_send };

static struct {
    struct io_uring_buf_ring *ring;
    unsigned char *memory;
    size_t stride;
    unsigned size;
    unsigned count;
} buffers;

static void set_up_buffers(void)
{
    buffers.size = options.size < 4096 ? 4096 : options.size > 65536 ? 65536 : options.size;
    buffers.count = buffers.size > 16384 ? 1024 : 4096;
    buffers.stride = buffers.size + 192;  // not all in the same cache sets
    buffers.memory = malloc(buffers.count * buffers.stride);
    buffers.ring = aligned_alloc(4096, buffers.count * sizeof(struct io_uring_buf));
    if (!buffers.memory || !buffers.ring)
        fail("malloc", 0, ENOMEM);
    struct io_uring_buf_reg registration = {
        .ring_addr = (uint64_t)(uintptr_t)buffers.ring,
        .ring_entries = buffers.count,
    };
    int result = io_uring_register_buf_ring(&ring, &registration, 0);
    if (result < 0)
        fail("io_uring_register_buf_ring", 0, -result);
    io_uring_buf_ring_init(buffers.ring);
    for (unsigned i = 0; i < buffers.count; i++)
        io_uring_buf_ring_add(buffers.ring, buffers.memory + i * buffers.stride, buffers.size,
                              (unsigned short)i, (int)buffers.count - 1, (int)i);
    io_uring_buf_ring_advance(buffers.ring, (int)buffers.count);
}

static void arm_receive(unsigned index)
{
    *next_entry() = (struct io_uring_sqe){
        .opcode = IORING_OP_RECV,
        .flags = IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT,
        .ioprio = IORING_RECV_MULTISHOT,
        .fd = (int)index,
        .user_data = (uint64_t)tag_receive << 32 | index,
    };
}

static void send_message(struct client *client)
{
    *next_entry() = (struct io_uring_sqe){
        .opcode = IORING_OP_SEND,
        .flags = IOSQE_FIXED_FILE | IOSQE_CQE_SKIP_SUCCESS,
        .fd = (int)client->index,
        .addr = (uint64_t)(uintptr_t)(pattern + client->send_at),
        .len = options.size,
        .msg_flags = MSG_WAITALL,
        .user_data = (uint64_t)tag_send << 32 | client->index,
    };
    client->send_at = (client->send_at + options.size) % pattern_period;
    client->sent_time = now;
    client->waiting = true;
    started_messages++;
}

// Returns the buffers given back, 0 or 1.
static int on_echo(const struct io_uring_cqe *completion, int given_back)
{
    struct client *client = &clients[(unsigned)completion->user_data];
    bool is_send = completion->user_data >> 32 == tag_send;
    bool is_end = is_send || (completion->res <= 0 && completion->res != -ENOBUFS);
    if (is_end && options.until_closed) {
        closed = true;
        return 0;
    }
    if (is_end)
        fail(is_send ? "send" : "recv", client->index,
             completion->res < 0 ? -completion->res : 0);
    if (!(completion->flags & IORING_CQE_F_MORE))
        arm_receive(client->index);
    if (completion->res == -ENOBUFS)
        return 0;
    unsigned buffer = completion->flags >> IORING_CQE_BUFFER_SHIFT;
    unsigned char *data = buffers.memory + buffer * buffers.stride;
    unsigned length = (unsigned)completion->res;
    check(client, data, length);
    client->received += length;
    io_uring_buf_ring_add(buffers.ring, data, buffers.size, (unsigned short)buffer,
                          (int)buffers.count - 1, given_back);
    if (client->received > options.size || (is_udp() && client->received < options.size))
        fail(client->received < options.size ? "less came back than was sent" :
             "more came back than was sent", client->index, EPROTO);
    if (client->received == options.size) {
        client->received = 0;
        client->waiting = false;
        if (count_message(client))
            send_message(client);
    }
    return 1;
}

// Datagrams, after a silence.
static void send_lost_again(void)
{
    for (unsigned i = 0; i < options.connections; i++) {
        struct client *client = &clients[i];
        if (!client->waiting)
            continue;
        client->send_at = client->receive_at;
        started_messages--;
        resent++;
        send_message(client);
    }
}

static void run_echo(void)
{
    open_all();
    set_up_ring();
    set_up_buffers();
    int *sockets = calloc(options.connections, sizeof *sockets);
    if (!sockets)
        fail("calloc", 0, ENOMEM);
    for (unsigned i = 0; i < options.connections; i++)
        sockets[i] = clients[i].socket;
    int result = io_uring_register_files(&ring, sockets, options.connections);
    if (result < 0)
        fail("io_uring_register_files", 0, -result);
    free(sockets);
    mark_begin();
    last_message_time = now;
    for (unsigned i = 0; i < options.connections; i++)
        arm_receive(i);
    for (unsigned i = 0; i < options.connections; i++)
        if (options.messages == 0 || started_messages < options.messages)
            send_message(&clients[i]);
    for (unsigned ready = 0; !is_over(ready == 0);) {
        ready = submit_and_wait();
        int given_back = 0;
        if (is_udp() && ready == 0 && now - last_message_time > loss_time)
            send_lost_again();
        for (unsigned i = 0; i < ready; i++)
            given_back += on_echo(completion_at(i), given_back);
        io_uring_buf_ring_advance(buffers.ring, given_back);
        io_uring_cq_advance(&ring, ready);
    }
}

// --- accept

static const char *const accept_steps[] = {"connect", "send", "recv"};
static unsigned char *accept_echoes;

static void link_step(struct client *client, unsigned step, struct io_uring_sqe request)
{
    request.fd = client->socket;
    request.user_data = (uint64_t)step << 32 | client->index;
    if (step < 2)
        request.flags = IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS;
    *next_entry() = request;
}

static void open_one(struct client *client)
{
    // Sources take turns; reset at close, so that no port waits in TIME_WAIT.
    client->socket = bound_socket((unsigned)started_messages);
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    setsockopt(client->socket, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    unsigned char *echo = accept_echoes + (size_t)client->index * options.size;
    if (io_uring_sq_space_left(&ring) < 3)
        io_uring_submit(&ring);  // a chain must not be cut in two
    link_step(client, 0, (struct io_uring_sqe){.opcode = IORING_OP_CONNECT,
                                               .addr = (uint64_t)(uintptr_t)&server_name,
                                               .off = server_name_size});
    link_step(client, 1, (struct io_uring_sqe){
                             .opcode = IORING_OP_SEND,
                             .addr = (uint64_t)(uintptr_t)(pattern + client->send_at),
                             .len = options.size,
                             .msg_flags = MSG_WAITALL});
    link_step(client, 2, (struct io_uring_sqe){.opcode = IORING_OP_RECV,
                                               .addr = (uint64_t)(uintptr_t)echo,
                                               .len = options.size,
                                               .msg_flags = MSG_WAITALL});
    client->send_at = (client->send_at + options.size) % pattern_period;
    client->sent_time = now;
    started_messages++;
}

static void on_accept_step(const struct io_uring_cqe *completion)
{
    struct client *client = &clients[(unsigned)completion->user_data];
    unsigned step = (unsigned)(completion->user_data >> 32);
    if (step < 2 || completion->res != (int)options.size)
        fail(accept_steps[step], client->index, completion->res < 0 ? -completion->res : 0);
    check(client, accept_echoes + (size_t)client->index * options.size, options.size);
    bool again = count_message(client);
    close(client->socket);
    if (again)
        open_one(client);
}

static void run_accept(void)
{
    set_up_ring();
    accept_echoes = malloc((size_t)options.connections * options.size);
    if (!accept_echoes)
        fail("malloc", 0, ENOMEM);
    mark_begin();
    last_message_time = now;
    for (unsigned i = 0; i < options.connections; i++)
        if (options.messages == 0 || started_messages < options.messages)
            open_one(&clients[i]);
    for (unsigned ready = 0; !is_over(ready == 0);) {
        ready = submit_and_wait();
        for (unsigned i = 0; i < ready; i++)
            on_accept_step(completion_at(i));
        io_uring_cq_advance(&ring, ready);
    }
}

// --- idle

// The server may still be at work on the last batch: read until nothing changes.
static long settled_memory(void)
{
    long memory = -1;
    for (int same = 0, tries = 0; same < 4 && tries < 100; tries++) {
        long latest = server_memory(options.pid);
        same = latest == memory ? same + 1 : 0;
        memory = latest;
        usleep(50000);
    }
    return memory;
}

static void run_idle(void)
{
    if (options.pid <= 0 || server_memory(options.pid) == 0) {
        fprintf(stderr, "load: --mode idle needs the --pid of the server\n");
        exit(1);
    }
    long before = settled_memory();
    open_all();
    long after = settled_memory();
    printf("{\"mode\": \"idle\", \"connections\": %u, \"before_kib\": %ld, \"after_kib\": %ld, "
           "\"bytes_per_connection\": %.0f}\n",
           options.connections, before, after,
           (double)(after - before) * 1024 / options.connections);
}

// --- the command line

static _Noreturn void usage(void)
{
    fprintf(stderr, "usage: load --port PORT|--unix PATH|--unix @NAME "
                    "[--mode echo|udp|accept|idle]\n"
                    "            [--connections N] [--size BYTES] [--seconds S] [--warm-up S]\n"
                    "            [--messages N] [--until-closed] [--pid SERVER]\n");
    exit(1);
}

static double number(const char *text, double least, double most)
{
    char *end;
    double value = strtod(text, &end);
    if (*text == '\0' || *end != '\0' || !(value >= least && value <= most)) {
        fprintf(stderr, "load: not a number from %g to %g: %s\n", least, most, text);
        exit(1);
    }
    return value;
}

static void parse(int argc, char **argv)
{
    static const struct option known[] = {
        {"port", required_argument, NULL, 'p'},     {"mode", required_argument, NULL, 'm'},
        {"connections", required_argument, NULL, 'c'}, {"size", required_argument, NULL, 's'},
        {"seconds", required_argument, NULL, 'd'},  {"warm-up", required_argument, NULL, 'w'},
        {"messages", required_argument, NULL, 'n'}, {"pid", required_argument, NULL, 'P'},
        {"until-closed", no_argument, NULL, 'u'},   {"unix", required_argument, NULL, 'U'},
        {NULL, 0, NULL, 0},
    };
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (option) {
        case 'p': options.port = (uint16_t)number(optarg, 1, 65535); break;
        case 'U': options.unix_address = optarg; break;
        case 'm': options.mode = optarg; break;
        case 'c': options.connections = (unsigned)number(optarg, 1, max_connections); break;
        case 's': options.size = (unsigned)number(optarg, 1, max_message); break;
        case 'd': options.seconds = number(optarg, 0.01, 3600); break;
        case 'w': options.warm_up = number(optarg, 0, 60); break;
        case 'n': options.messages = (uint64_t)number(optarg, 1, 1e15); break;
        case 'P': options.pid = (int)number(optarg, 1, 1 << 30); break;
        case 'u': options.until_closed = true; break;
        default: usage();
        }
    }
    if ((options.port == 0) == (options.unix_address == NULL) || optind != argc ||
        (options.unix_address && is_udp()))
        usage();
    measuring = options.until_closed;
}

int main(int argc, char **argv)
{
    parse(argc, argv);
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    set_server();
    fill_pattern();
    clients = calloc(options.connections, sizeof *clients);
    if (!clients)
        fail("calloc", 0, ENOMEM);
    for (unsigned i = 0; i < options.connections; i++) {
        clients[i].index = i;
        clients[i].send_at = clients[i].receive_at = i * 7919u % pattern_period;
    }
    if (strcmp(options.mode, "echo") == 0 || is_udp())
        run_echo();
    else if (strcmp(options.mode, "accept") == 0)
        run_accept();
    else if (strcmp(options.mode, "idle") == 0)
        run_idle();
    else
        usage();
    if (strcmp(options.mode, "idle") != 0)
        report();
    return 0;
}
