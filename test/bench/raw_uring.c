// The best hand-written io_uring echo server: the reference the library is measured against.
//
//   raw_uring PORT        echoes on 127.0.0.1:PORT until a signal ends it
//   raw_uring unix:PATH   the same on a Unix socket; @NAME is one of the abstract namespace
//
// The fast way of one message costs one completion and one entry:
//   * A multishot receive per connection takes a buffer of the shared ring when bytes arrive.
//   * A quiet send (MSG_DONTWAIT, no completion on success) echoes from that same buffer. It runs
//     inside the next enter, so when that enter has returned without a completion for it, it is
//     done: the buffer goes back then, one turn after its bytes came.
// What does not fit that way is copied to the connection's backlog on the heap and sent by a loud
// send, one at a time: the rest of a quiet send that was short, and bytes that come while an
// earlier send may still turn out short. So the bytes of a connection are never reordered, and a
// peer that does not read holds no buffer of the ring. Past a limit its receive is stopped.
#define _GNU_SOURCE
#include <errno.h>
#include <liburing.h>
#include <stdbool.h>
#include <sys/mman.h>

#include "listen.h"

enum {
    max_connections = 19000,
    submission_entries = 4096,
    completion_entries = 32768,
    buffer_count = 1024,  // a power of two
    buffer_size = 16384,
    // Buffers exactly 16 KiB apart would all begin in the same cache sets, and short messages
    // would use no other.
    buffer_stride = buffer_size + 192,
    backlog_limit = 256 * 1024,
};

#define likely(condition) __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)

// The upper half of user_data; the lower one is the connection's index.
enum request { request_receive, request_quiet_send, request_loud_send, request_accept,
               request_ignored };

struct bytes {
    unsigned char *data;
    size_t length;
    size_t capacity;
};

struct backlog {
    struct bytes sending;  // the kernel reads this while a loud send is in flight
    size_t sent;
    struct bytes waiting;
};

// send_turn of a connection with a backlog: later than every turn.
static const uint64_t blocked = UINT64_MAX;

struct connection {
    uint64_t send_turn;       // the turn that prepared the last quiet send, or blocked
    struct backlog *backlog;  // null while every send succeeds
    uint32_t sent_length;     // of the last quiet send
    uint16_t sent_buffer;
    bool armed;               // the kernel holds a receive
    bool stopping;            // ... that was told to end
    bool ended;               // the peer sends no more
    bool broken;              // nothing can be sent any more
    bool due;                 // on a due list
};

struct index_list {
    unsigned count;
    unsigned index[max_connections];
};

static struct io_uring ring;
static struct io_uring_buf_ring *buffer_ring;
static unsigned char *buffer_memory;
static unsigned settled_buffers;    // written to the ring in earlier turns, not yet published
static unsigned unsettled_buffers;  // ... in this turn
static struct connection connections[max_connections];
static unsigned open_connections;
// Connections to look at once the sends of a turn are settled, that is, a turn later: one list is
// filled while the other is taken.
static struct index_list due_lists[2];
// Connections whose receive found no buffer. They count as armed until they are armed again.
static struct index_list starved;
static uint64_t turn = 1;
static int listener;
static bool accept_paused;

static uint64_t tag(enum request request, unsigned index)
{
    return (uint64_t)request << 32 | index;
}

static struct io_uring_sqe *next_entry(void)
{
    struct io_uring_sqe *entry;
    while (unlikely(!(entry = io_uring_get_sqe(&ring)))) {
        int result = io_uring_submit(&ring);
        if (result < 0 && result != -EINTR && result != -EAGAIN)
            fail("io_uring_enter", -result);
    }
    return entry;
}

static void arm_accept(void)
{
    struct io_uring_sqe *entry = next_entry();
    io_uring_prep_multishot_accept_direct(entry, listener, NULL, NULL, 0);
    entry->user_data = tag(request_accept, 0);
}

static void arm_receive(unsigned index)
{
    struct connection *peer = &connections[index];
    *next_entry() = (struct io_uring_sqe){
        .opcode = IORING_OP_RECV,
        .flags = IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT,
        .ioprio = IORING_RECV_MULTISHOT,
        .fd = (int)index,
        .user_data = tag(request_receive, index),
    };
    peer->armed = true;
    // What this request finds at once can complete ahead of a send failing in the same enter: let
    // those bytes queue behind it.
    if (peer->send_turn == turn)
        peer->send_turn = turn + 1;
}

static void stop_receive(unsigned index)
{
    struct connection *peer = &connections[index];
    if (!peer->armed || peer->stopping)
        return;
    peer->stopping = true;
    *next_entry() = (struct io_uring_sqe){
        .opcode = IORING_OP_ASYNC_CANCEL,
        .flags = IOSQE_CQE_SKIP_SUCCESS,
        .fd = -1,
        .addr = tag(request_receive, index),
        .user_data = tag(request_ignored, index),
    };
}

static void append(struct bytes *to, const unsigned char *data, size_t length)
{
    if (to->length + length > to->capacity) {
        to->capacity = 2 * to->capacity + length;
        to->data = realloc(to->data, to->capacity);
        if (!to->data)
            fail("realloc", ENOMEM);
    }
    memcpy(to->data + to->length, data, length);
    to->length += length;
}

static struct backlog *backlog_of(struct connection *peer)
{
    if (!peer->backlog)
        peer->backlog = calloc(1, sizeof *peer->backlog);
    if (!peer->backlog)
        fail("calloc", ENOMEM);
    peer->send_turn = blocked;
    return peer->backlog;
}

static void free_backlog(struct connection *peer)
{
    if (!peer->backlog)
        return;
    free(peer->backlog->sending.data);
    free(peer->backlog->waiting.data);
    free(peer->backlog);
    peer->backlog = NULL;
}

static bool sending(const struct connection *peer)
{
    return peer->backlog && peer->backlog->sending.length > 0;
}

static size_t waiting_length(const struct connection *peer)
{
    return peer->backlog ? peer->backlog->waiting.length : 0;
}

static void close_connection(unsigned index)
{
    free_backlog(&connections[index]);
    struct io_uring_sqe *entry = next_entry();
    io_uring_prep_close_direct(entry, index);
    entry->flags |= IOSQE_CQE_SKIP_SUCCESS;
    entry->user_data = tag(request_ignored, index);
    open_connections--;
    if (accept_paused) {
        accept_paused = false;
        arm_accept();
    }
}

static void send_loudly(unsigned index)
{
    struct backlog *backlog = connections[index].backlog;
    *next_entry() = (struct io_uring_sqe){
        .opcode = IORING_OP_SEND,
        .flags = IOSQE_FIXED_FILE,
        .fd = (int)index,
        .addr = (uint64_t)(uintptr_t)(backlog->sending.data + backlog->sent),
        .len = (uint32_t)(backlog->sending.length - backlog->sent),
        .msg_flags = MSG_WAITALL,
        .user_data = tag(request_loud_send, index),
    };
}

// The next step of a connection whose sends are all settled, or none if its time has not come.
static void advance(unsigned index)
{
    struct connection *peer = &connections[index];
    if (peer->due || sending(peer))
        return;
    if (waiting_length(peer) > 0) {
        struct bytes empty = peer->backlog->sending;
        peer->backlog->sending = peer->backlog->waiting;
        peer->backlog->waiting = empty;
        send_loudly(index);
    } else if (peer->ended || peer->broken) {
        if (!peer->armed)
            close_connection(index);
        return;
    } else {
        free_backlog(peer);
        peer->send_turn = 0;
    }
    if (!peer->armed && !peer->ended)
        arm_receive(index);
}

static void make_due(unsigned index)
{
    struct connection *peer = &connections[index];
    if (peer->due)
        return;
    peer->due = true;
    struct index_list *list = &due_lists[turn & 1];
    list->index[list->count++] = index;
}

// Takes the list of the turn before: its sends are settled.
static void advance_due(void)
{
    struct index_list *list = &due_lists[(turn & 1) ^ 1];
    for (unsigned i = 0; i < list->count; i++) {
        connections[list->index[i]].due = false;
        advance(list->index[i]);
    }
    list->count = 0;
}

static void send_quietly(unsigned index, unsigned char *data, uint32_t length, uint16_t buffer)
{
    struct connection *peer = &connections[index];
    peer->send_turn = turn;
    peer->sent_length = length;
    peer->sent_buffer = buffer;
    *next_entry() = (struct io_uring_sqe){
        .opcode = IORING_OP_SEND,
        .flags = IOSQE_FIXED_FILE | IOSQE_CQE_SKIP_SUCCESS,
        .fd = (int)index,
        .addr = (uint64_t)(uintptr_t)data,
        .len = length,
        // MSG_WAITALL makes a short count a failure, which is told.
        .msg_flags = MSG_DONTWAIT | MSG_WAITALL,
        .user_data = tag(request_quiet_send, index),
    };
}

static void hold_back(unsigned index, const unsigned char *data, size_t length)
{
    struct connection *peer = &connections[index];
    if (peer->broken)
        return;
    append(&backlog_of(peer)->waiting, data, length);
    if (!sending(peer))
        make_due(index);
    if (waiting_length(peer) > backlog_limit)
        stop_receive(index);
}

static void on_receive_end(unsigned index, int result)
{
    struct connection *peer = &connections[index];
    if (result == -ENOBUFS) {
        starved.index[starved.count++] = index;
        return;
    }
    peer->armed = false;
    peer->stopping = false;
    // Bytes without a request behind them or our own cancel: the stream goes on.
    if (result > 0 || result == -ECANCELED || result == -EINTR) {
        if (peer->broken)
            advance(index);
        else if (waiting_length(peer) <= backlog_limit)
            arm_receive(index);
        return;
    }
    peer->ended = true;
    if (result < 0) {
        peer->broken = true;
        if (peer->backlog)
            peer->backlog->waiting.length = 0;
    }
    if (peer->send_turn >= turn && peer->send_turn != blocked)
        make_due(index);
    advance(index);
}

static void on_receive(unsigned index, const struct io_uring_cqe *completion)
{
    int result = completion->res;
    if (likely(result > 0)) {
        uint16_t buffer = (uint16_t)(completion->flags >> IORING_CQE_BUFFER_SHIFT);
        unsigned char *data = buffer_memory + (size_t)buffer * buffer_stride;
        // Only written to the ring here: the kernel sees it when the tail moves.
        io_uring_buf_ring_add(buffer_ring, data, buffer_size, buffer, buffer_count - 1,
                              (int)(settled_buffers + unsettled_buffers++));
        if (likely(connections[index].send_turn < turn))
            send_quietly(index, data, (uint32_t)result, buffer);
        else
            hold_back(index, data, (size_t)result);
    }
    if (unlikely(!(completion->flags & IORING_CQE_F_MORE)))
        on_receive_end(index, result);
}

static void break_off(unsigned index)
{
    struct connection *peer = &connections[index];
    peer->broken = true;
    peer->send_turn = blocked;
    if (peer->backlog)
        peer->backlog->sending.length = peer->backlog->waiting.length = 0;
    stop_receive(index);
    advance(index);
}

static bool may_retry(int result)
{
    return result >= 0 || result == -EAGAIN || result == -EINTR;
}

// The buffer is still ours: the tail does not move before all completions of this turn are seen.
static void on_quiet_send_failed(unsigned index, int result)
{
    struct connection *peer = &connections[index];
    if (!may_retry(result) || peer->broken) {
        break_off(index);
        return;
    }
    size_t sent = result > 0 ? (size_t)result : 0;
    struct backlog *backlog = backlog_of(peer);
    append(&backlog->sending,
           buffer_memory + (size_t)peer->sent_buffer * buffer_stride + sent,
           peer->sent_length - sent);
    if (backlog->waiting.length > 0)
        append(&backlog->sending, backlog->waiting.data, backlog->waiting.length);
    backlog->waiting.length = 0;
    backlog->sent = 0;
    send_loudly(index);
}

static void on_loud_send(unsigned index, int result)
{
    struct backlog *backlog = connections[index].backlog;
    if (!may_retry(result)) {
        break_off(index);
        return;
    }
    backlog->sent += result > 0 ? (size_t)result : 0;
    if (backlog->sent < backlog->sending.length) {
        send_loudly(index);
        return;
    }
    backlog->sending.length = 0;
    backlog->sent = 0;
    advance(index);
}

static void on_accept(const struct io_uring_cqe *completion)
{
    if (completion->res >= 0) {
        unsigned index = (unsigned)completion->res;
        connections[index] = (struct connection){0};
        open_connections++;
        arm_receive(index);
    } else {
        fprintf(stderr, "accept: %s\n", strerror(-completion->res));
        // No descriptor is free: asking again before one is would spin.
        accept_paused = open_connections > 0;
    }
    if (!(completion->flags & IORING_CQE_F_MORE) && !accept_paused)
        arm_accept();
}

static void on_completion(const struct io_uring_cqe *completion)
{
    unsigned index = (unsigned)completion->user_data;
    enum request request = (enum request)(completion->user_data >> 32);
    if (likely(request == request_receive))
        on_receive(index, completion);
    else if (request == request_quiet_send)
        on_quiet_send_failed(index, completion->res);
    else if (request == request_loud_send)
        on_loud_send(index, completion->res);
    else if (request == request_accept)
        on_accept(completion);
}

// Everything the kernel has posted, what overflowed the completion queue included: a failed send
// may be there.
static void reap(void)
{
    bool overflowed;
    do {
        overflowed = IO_URING_READ_ONCE(*ring.sq.kflags) & IORING_SQ_CQ_OVERFLOW;
        unsigned head = *ring.cq.khead;
        unsigned tail = io_uring_smp_load_acquire(ring.cq.ktail);
        unsigned mask = *ring.cq.kring_mask;
        for (unsigned at = head; at != tail; at++)
            on_completion(&ring.cq.cqes[at & mask]);
        io_uring_cq_advance(&ring, tail - head);
        if (unlikely(overflowed))
            io_uring_get_events(&ring);
    } while (unlikely(overflowed));
}

static void arm_starved(void)
{
    unsigned count = starved.count;
    starved.count = 0;
    for (unsigned i = 0; i < count; i++) {
        unsigned index = starved.index[i];
        if (connections[index].stopping)
            on_receive_end(index, -ECANCELED);
        else
            arm_receive(index);
    }
}

// The buffers of the turn before go to the kernel; those of this turn once its sends are settled.
static void give_back_buffers(void)
{
    unsigned count = settled_buffers;
    io_uring_buf_ring_advance(buffer_ring, (int)count);
    settled_buffers = unsettled_buffers;
    unsettled_buffers = 0;
    // With none given back and none to come, the ring is full again.
    if (unlikely(starved.count > 0) && (count > 0 || settled_buffers == 0))
        arm_starved();
}

static void run_turn(void)
{
    // A quiet send tells nothing, so what waits for it to be settled must not sleep.
    bool work_left = due_lists[0].count + due_lists[1].count + starved.count > 0;
    int result = unlikely(work_left) ? io_uring_submit_and_get_events(&ring)
                                     : io_uring_submit_and_wait(&ring, 1);
    if (result < 0 && result != -EINTR && result != -EAGAIN)
        fail("io_uring_enter", -result);
    bool settled = io_uring_sq_ready(&ring) == 0;
    turn++;
    reap();
    if (likely(settled)) {
        advance_due();
        give_back_buffers();
    }
}

static void set_up_buffers(void)
{
    size_t ring_size = buffer_count * sizeof(struct io_uring_buf);
    size_t size = ring_size + (size_t)buffer_count * buffer_stride;
    unsigned char *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        fail("mmap", errno);
    buffer_ring = (struct io_uring_buf_ring *)memory;
    buffer_memory = memory + ring_size;
    struct io_uring_buf_reg registration = {
        .ring_addr = (uint64_t)(uintptr_t)buffer_ring,
        .ring_entries = buffer_count,
    };
    int result = io_uring_register_buf_ring(&ring, &registration, 0);
    if (result < 0)
        fail("io_uring_register_buf_ring", -result);
    io_uring_buf_ring_init(buffer_ring);
    for (unsigned i = 0; i < buffer_count; i++)
        io_uring_buf_ring_add(buffer_ring, buffer_memory + (size_t)i * buffer_stride, buffer_size,
                              (unsigned short)i, buffer_count - 1, (int)i);
    io_uring_buf_ring_advance(buffer_ring, buffer_count);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: raw_uring PORT|unix:PATH|unix:@NAME\n");
        return 1;
    }
    unsigned limit = raise_descriptor_limit();
    listener = listen_at(argv[1], 0);
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                 IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
        .cq_entries = completion_entries,
    };
    int result = io_uring_queue_init_params(submission_entries, &ring, &params);
    if (result < 0)
        fail("io_uring_setup", -result);
    io_uring_register_ring_fd(&ring);
    result = io_uring_register_files_sparse(&ring, limit < max_connections ? limit
                                                                           : max_connections);
    if (result < 0)
        fail("io_uring_register_files", -result);
    set_up_buffers();
    arm_accept();
    for (;;)
        run_turn();
}
