// An echo server on io_uring by hand: requests in one queue, what became of them in another.
//
//     ./samples/run blocking/echo_uring          serves localhost:8000 until Ctrl-C
//     nc localhost 8000                          type lines; they come back
//
// One multishot accept brings every connection, and one multishot receive each of them all its
// data, in buffers the kernel takes from a shared ring. So one system call per turn sends all that
// is due and waits. What it costs is care: a request in flight points at memory, so a connection
// lives until the last of its requests has completed, and any completion may end a multishot.
#include "net.hpp"

#include <liburing.h>
#include <poll.h>

#include <array>
#include <deque>
#include <span>

namespace {

constexpr unsigned entries = 1024;
constexpr unsigned completions = 8192;
constexpr unsigned short buffer_count = 256;
constexpr std::size_t buffer_size = 16384;
constexpr int buffer_group = 0;
constexpr std::size_t most_waiting = 262144;  // bytes; beyond them a client is not read from

enum class request : std::uint64_t { accept, receive, send, signal, cancel };

constexpr std::uint64_t tag(request what, int descriptor) {
    return static_cast<std::uint64_t>(what) << 32 | static_cast<std::uint32_t>(descriptor);
}

void check(int result, const char* call) {
    if (result >= 0) return;
    errno = -result;
    if (result == -EPERM || result == -ENOSYS) {
        net::fail(std::string(call) + " (see sysctl kernel.io_uring_disabled; or seccomp forbids)");
    }
    net::fail(call);
}

// The queues, and the buffers that data arrives in.
class ring {
public:
    ring() {
        io_uring_params params{};
        params.flags =
            IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE;
        params.cq_entries = completions;
        check(::io_uring_queue_init_params(entries, &ring_, &params), "io_uring_queue_init");
        try {
            register_buffers();
        } catch (...) {
            ::io_uring_queue_exit(&ring_);
            throw;
        }
    }
    ring(const ring&) = delete;
    ring& operator=(const ring&) = delete;
    ~ring() { ::io_uring_queue_exit(&ring_); }

    // An entry to be filled. A full queue is handed over first.
    io_uring_sqe* entry(request what, int descriptor) {
        io_uring_sqe* made = ::io_uring_get_sqe(&ring_);
        while (made == nullptr) {
            const int submitted = ::io_uring_submit(&ring_);
            if (submitted != -EINTR) check(submitted, "io_uring_submit");
            made = ::io_uring_get_sqe(&ring_);
        }
        ::io_uring_sqe_set_data64(made, tag(what, descriptor));
        return made;
    }

    // Hands over what is prepared and waits, `milliseconds` at most unless below 0; then calls
    // `handle` with each completion.
    template <typename Handle>
    void turn(int milliseconds, Handle handle) {
        __kernel_timespec patience{milliseconds / 1000, milliseconds % 1000 * 1'000'000LL};
        io_uring_cqe* first = nullptr;
        const int result = ::io_uring_submit_and_wait_timeout(
            &ring_, &first, 1, milliseconds < 0 ? nullptr : &patience, nullptr);
        const bool nothing_new = result == -ETIME || result == -EINTR || result == -EBUSY;
        if (!nothing_new) check(result, "io_uring_enter");
        std::array<io_uring_cqe*, 256> batch;
        while (const auto count = ::io_uring_peek_batch_cqe(&ring_, batch.data(), batch.size())) {
            for (const io_uring_cqe* each : std::span(batch).first(count)) handle(*each);
            ::io_uring_cq_advance(&ring_, count);
        }
    }

    std::string_view data(const io_uring_cqe& completion) const {
        return {memory(number(completion)), static_cast<std::size_t>(completion.res)};
    }
    // The kernel may write into it again.
    void give_back(const io_uring_cqe& completion) {
        add(number(completion), 0);
        ::io_uring_buf_ring_advance(buffers_, 1);
    }

private:
    static unsigned short number(const io_uring_cqe& completion) {
        return static_cast<unsigned short>(completion.flags >> IORING_CQE_BUFFER_SHIFT);
    }
    char* memory(unsigned short number) const { return memory_.get() + number * buffer_size; }

    void add(unsigned short number, int offset) {
        ::io_uring_buf_ring_add(buffers_, memory(number), buffer_size, number,
                                ::io_uring_buf_ring_mask(buffer_count), offset);
    }

    void register_buffers() {
        if (!ring_memory_) throw std::bad_alloc();
        buffers_ = static_cast<io_uring_buf_ring*>(ring_memory_.get());
        io_uring_buf_reg where{};
        where.ring_addr = reinterpret_cast<std::uintptr_t>(buffers_);
        where.ring_entries = buffer_count;
        where.bgid = buffer_group;
        check(::io_uring_register_buf_ring(&ring_, &where, 0), "io_uring_register_buf_ring");
        ::io_uring_buf_ring_init(buffers_);
        for (unsigned short i = 0; i < buffer_count; ++i) add(i, i);
        ::io_uring_buf_ring_advance(buffers_, buffer_count);
    }

    static constexpr std::size_t page = 4096;

    io_uring ring_{};
    io_uring_buf_ring* buffers_ = nullptr;
    // The kernel wants it to begin a page.
    std::unique_ptr<void, decltype(&std::free)> ring_memory_{
        std::aligned_alloc(page, buffer_count * sizeof(io_uring_buf)), &std::free};
    std::unique_ptr<char[]> memory_ = std::make_unique<char[]>(buffer_count * buffer_size);
};

struct connection {
    net::descriptor socket;
    std::string sending;  // the kernel reads it while a send is in flight
    std::string waiting;  // received meanwhile
    std::size_t sent = 0;
    bool receives = false;  // these three: a request is in flight
    bool sends = false;
    bool cancels = false;
    bool ended = false;  // nothing more will be received
};

class echo_server {
public:
    explicit echo_server(const std::string& where) : listeners_(net::listen_on(where)) {}

    void run() {
        ::io_uring_prep_poll_add(ring_.entry(request::signal, -1), signals_.get(), POLLIN);
        for (const auto& each : listeners_) accept_at(each.get());
        while (!stopping_ || accepts_ != 0 || open_ != 0) {
            if (stopping_ && net::steady::now() >= drained_by_) return;
            ring_.turn(timeout(), [this](const io_uring_cqe& each) { dispatch(each); });
            if (paused_ && !pause_.is_on()) resume_listeners();
        }
    }

private:
    int timeout() const {
        if (stopping_) return net::milliseconds_until(drained_by_);
        return paused_ ? net::milliseconds_until(pause_.end()) : -1;
    }

    void dispatch(const io_uring_cqe& completion) {
        const auto descriptor = static_cast<int>(completion.user_data & 0xffffffff);
        switch (static_cast<request>(completion.user_data >> 32)) {
            case request::accept: return on_accept(completion, descriptor);
            case request::receive: return on_receive(completion, at(descriptor));
            case request::send: return on_send(completion.res, at(descriptor));
            case request::signal: return stop();
            case request::cancel: return;  // its success or failure is seen by the other request
        }
    }

    connection& at(int descriptor) { return connections_[static_cast<std::size_t>(descriptor)]; }

    // ---- listeners

    void accept_at(int listener) {
        ::io_uring_prep_multishot_accept(ring_.entry(request::accept, listener), listener, nullptr,
                                         nullptr, SOCK_CLOEXEC);
        ++accepts_;
    }

    void on_accept(const io_uring_cqe& completion, int listener) {
        if (completion.res >= 0) add(net::descriptor(completion.res));
        if (completion.flags & IORING_CQE_F_MORE) return;
        --accepts_;
        if (stopping_) return close_listeners();
        if (completion.res < 0 && pause_.begins_with(-completion.res)) {
            paused_ = true;
            accept_later_.push_back(listener);
        } else if (completion.res >= 0 || net::is_of_connection(-completion.res)) {
            accept_at(listener);
        } else {
            check(completion.res, "accept");
        }
    }

    void resume_listeners() {
        paused_ = false;
        for (const int each : std::exchange(accept_later_, {})) accept_at(each);
    }

    // ---- connections

    void add(net::descriptor socket) {
        const int number = socket.get();
        const auto index = static_cast<std::size_t>(number);
        if (index >= connections_.size()) connections_.resize(2 * index);
        if (stopping_) ::shutdown(number, SHUT_RD);
        connections_[index].socket = std::move(socket);
        ++open_;
        advance(connections_[index]);
    }

    // What is copied costs little and gives the buffer back at once: no client can hold the ring's
    // buffers by not reading.
    void on_receive(const io_uring_cqe& completion, connection& peer) {
        if (completion.flags & IORING_CQE_F_BUFFER) {
            if (completion.res > 0) peer.waiting += ring_.data(completion);
            ring_.give_back(completion);
        }
        if (!(completion.flags & IORING_CQE_F_MORE)) {
            peer.receives = false;
            peer.cancels = false;
            // Out of buffers for a moment, or cancelled: it may be asked again.
            const bool again = completion.res > 0 || completion.res == -ENOBUFS ||
                               completion.res == -ECANCELED || net::is_temporary(-completion.res);
            peer.ended = peer.ended || !again;
            if (completion.res < 0 && !again) break_off(peer);
        }
        advance(peer);
    }

    void on_send(int result, connection& peer) {
        peer.sends = false;
        if (result >= 0) {
            peer.sent += static_cast<std::size_t>(result);
        } else if (!net::is_temporary(-result)) {
            break_off(peer);
        }
        if (peer.sent >= peer.sending.size()) {
            peer.sending.clear();
            peer.sent = 0;
            if (peer.sending.capacity() > buffer_size) peer.sending.shrink_to_fit();
        }
        advance(peer);
    }

    // The peer is gone, and nothing can be sent. Also ends a receive that is in flight.
    void break_off(connection& peer) {
        ::shutdown(peer.socket.get(), SHUT_RDWR);
        peer.ended = true;
        peer.waiting.clear();
        if (!peer.sends) peer.sending.clear();
        if (!peer.sends) peer.sent = 0;
    }

    // Begins whatever is due.
    void advance(connection& peer) {
        const int socket = peer.socket.get();
        if (!peer.sends && peer.sending.empty()) std::swap(peer.sending, peer.waiting);
        if (!peer.sends && !peer.sending.empty()) {
            const std::string_view rest = std::string_view(peer.sending).substr(peer.sent);
            ::io_uring_prep_send(ring_.entry(request::send, socket), socket, rest.data(),
                                 rest.size(), MSG_NOSIGNAL | MSG_WAITALL);
            peer.sends = true;
        }
        const bool has_room = peer.waiting.size() < most_waiting;
        if (!peer.receives && !peer.ended && has_room) receive(peer);
        if (peer.receives && !peer.cancels && !has_room) {
            ::io_uring_prep_cancel64(ring_.entry(request::cancel, socket),
                                     tag(request::receive, socket), 0);
            peer.cancels = true;
        }
        if (peer.ended && !peer.receives && !peer.sends) {
            peer = {};
            --open_;
        }
    }

    void receive(connection& peer) {
        const int socket = peer.socket.get();
        io_uring_sqe* entry = ring_.entry(request::receive, socket);
        ::io_uring_prep_recv_multishot(entry, socket, nullptr, 0, 0);
        ::io_uring_sqe_set_flags(entry, IOSQE_BUFFER_SELECT);
        entry->buf_group = buffer_group;
        peer.receives = true;
    }

    // ---- the end

    // What has been received is still echoed; behind it, each connection finds the end.
    void stop() {
        signals_.take();
        stopping_ = true;
        drained_by_ = net::steady::now() + net::drain_time;
        for (const auto& each : listeners_) {
            ::io_uring_prep_cancel64(ring_.entry(request::cancel, each.get()),
                                     tag(request::accept, each.get()), 0);
        }
        paused_ = false;
        close_listeners();
        for (const auto& each : connections_) {
            if (each.socket.get() >= 0) ::shutdown(each.socket.get(), SHUT_RD);
        }
    }

    // A listener that is closed while a request is in flight goes on listening.
    void close_listeners() {
        if (accepts_ == 0) listeners_.clear();
    }

    net::stop_signals signals_;
    // By descriptor. Not a vector: when one grows, its elements move, and what a send reads with
    // them.
    std::deque<connection> connections_;
    ring ring_;  // ends before them: until then the kernel may read what they send
    std::vector<net::descriptor> listeners_;
    std::size_t open_ = 0;
    std::size_t accepts_ = 0;  // in flight
    std::vector<int> accept_later_;
    net::accept_pause pause_;
    bool paused_ = false;
    bool stopping_ = false;
    net::steady::time_point drained_by_;
};

}  // namespace

int main(int argc, char** argv) {
    const net::usage about{"Echoes on io_uring, until Ctrl-C."};
    return net::run(argc, argv, about,
                    [](const std::string& where, const auto&) { echo_server(where).run(); });
}
