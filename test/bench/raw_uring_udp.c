// The best hand-written io_uring UDP echo server: the reference of the UDP row.
//
//   raw_uring_udp PORT      echoes on 127.0.0.1:PORT until a signal ends it
//
// One multishot RECVMSG takes a buffer of the ring for each datagram and writes the sender's name
// in front of it. A quiet send (MSG_DONTWAIT, no completion on success) returns the datagram from
// the same buffer inside the next enter; when that has returned, the buffer goes back. A datagram
// that the socket has no room for is lost, as UDP may.
#define _GNU_SOURCE
#include <liburing.h>
#include <sys/mman.h>

#include "listen.h"

enum {
    submission_entries = 2048,
    completion_entries = 8192,
    buffer_count = 1024,  // a power of two
    buffer_size = 2048 + 64,
    group = 0,
};

enum request { request_receive = 1, request_send };

static struct io_uring ring;
static struct io_uring_buf_ring *buffer_ring;
static unsigned char *buffers;
static struct msghdr layout = {.msg_namelen = sizeof(struct sockaddr_in)};

// Buffers whose sends the next enter carries out, and those it has carried out.
static unsigned short sending[2][buffer_count];
static unsigned sending_count[2];

static int bound_socket(uint16_t port)
{
    int made = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (made < 0)
        fail("socket", errno);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(made, (struct sockaddr *)&address, sizeof address) != 0)
        fail("bind", errno);
    return made;
}

static struct io_uring_sqe *next_entry(void)
{
    struct io_uring_sqe *entry;
    while (!(entry = io_uring_get_sqe(&ring)))
        io_uring_submit(&ring);
    return entry;
}

static unsigned char *buffer_at(unsigned index)
{
    return buffers + (size_t)index * buffer_size;
}

static void set_up_buffers(void)
{
    buffers = mmap(NULL, (size_t)buffer_count * buffer_size, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    buffer_ring = mmap(NULL, buffer_count * sizeof(struct io_uring_buf), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buffers == MAP_FAILED || buffer_ring == MAP_FAILED)
        fail("mmap", errno);
    struct io_uring_buf_reg registration = {.ring_addr = (uint64_t)(uintptr_t)buffer_ring,
                                            .ring_entries = buffer_count,
                                            .bgid = group};
    int result = io_uring_register_buf_ring(&ring, &registration, 0);
    if (result < 0)
        fail("io_uring_register_buf_ring", -result);
    io_uring_buf_ring_init(buffer_ring);
    for (unsigned i = 0; i < buffer_count; i++)
        io_uring_buf_ring_add(buffer_ring, buffer_at(i), buffer_size, (unsigned short)i,
                              buffer_count - 1, (int)i);
    io_uring_buf_ring_advance(buffer_ring, buffer_count);
}

static void arm_receive(void)
{
    *next_entry() = (struct io_uring_sqe){
        .opcode = IORING_OP_RECVMSG,
        .flags = IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT,
        .ioprio = IORING_RECV_MULTISHOT,
        .fd = 0,
        .addr = (uint64_t)(uintptr_t)&layout,
        .len = 1,
        .buf_group = group,
        .user_data = request_receive,
    };
}

static void send_back(unsigned index, unsigned length)
{
    unsigned char *start = buffer_at(index);
    struct io_uring_recvmsg_out *header = (struct io_uring_recvmsg_out *)start;
    unsigned char *name = start + sizeof *header;
    unsigned char *payload = name + layout.msg_namelen;
    *next_entry() = (struct io_uring_sqe){
        .opcode = IORING_OP_SEND,
        .flags = IOSQE_FIXED_FILE | IOSQE_CQE_SKIP_SUCCESS,
        .fd = 0,
        .addr = (uint64_t)(uintptr_t)payload,
        .len = length - (unsigned)(payload - start),
        .addr2 = (uint64_t)(uintptr_t)name,
        .addr_len = (unsigned short)header->namelen,
        .msg_flags = MSG_DONTWAIT,
        .user_data = request_send,
    };
}

static void run_turn(unsigned now)
{
    io_uring_submit_and_wait(&ring, 1);
    unsigned head, seen = 0;
    struct io_uring_cqe *completion;
    sending_count[now] = 0;
    io_uring_for_each_cqe(&ring, head, completion) {
        seen++;
        if (completion->user_data != request_receive)
            continue;
        if (completion->flags & IORING_CQE_F_BUFFER) {
            unsigned index = completion->flags >> IORING_CQE_BUFFER_SHIFT;
            send_back(index, (unsigned)completion->res);
            sending[now][sending_count[now]++] = (unsigned short)index;
        }
        if (!(completion->flags & IORING_CQE_F_MORE))
            arm_receive();
    }
    io_uring_cq_advance(&ring, seen);
    const unsigned before = !now;
    for (unsigned i = 0; i < sending_count[before]; i++)
        io_uring_buf_ring_add(buffer_ring, buffer_at(sending[before][i]), buffer_size,
                              sending[before][i], buffer_count - 1, (int)i);
    io_uring_buf_ring_advance(buffer_ring, (int)sending_count[before]);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: raw_uring_udp PORT\n");
        return 1;
    }
    int socket_ = bound_socket(parse_port(argv[1]));
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                 IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
        .cq_entries = completion_entries,
    };
    int result = io_uring_queue_init_params(submission_entries, &ring, &params);
    if (result < 0)
        fail("io_uring_setup", -result);
    io_uring_register_ring_fd(&ring);
    result = io_uring_register_files(&ring, &socket_, 1);
    if (result < 0)
        fail("io_uring_register_files", -result);
    set_up_buffers();
    arm_receive();
    for (unsigned turn = 0;; turn = !turn)
        run_turn(turn);
}
