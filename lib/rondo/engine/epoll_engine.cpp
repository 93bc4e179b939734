#include <rondo/engine/epoll_engine.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <limits>
#include <stdexcept>
#include <string>

#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include <liburing.h>

#include <rondo/detail/unique_fd.hpp>
#include <rondo/engine/epoll_completions.hpp>
#include <rondo/engine/epoll_requests.hpp>

namespace rondo::inline v0 {

namespace {

using duration = engine::duration;

/// As large as the kernel lets a ring be.
constexpr unsigned most_entries = 1u << 15;
constexpr unsigned most_completions = 1u << 16;

constexpr feature_set carried_out = feature::multishot_accept | feature::multishot_recv |
                                    feature::buffer_ring | feature::receive_limit |
                                    feature::multishot_poll | feature::skip_success |
                                    feature::unix_end;

struct alignas(64) entry_storage {
    std::byte bytes[64];
};
static_assert(sizeof(io_uring_sqe) == sizeof(entry_storage));

unsigned size_between(unsigned asked, unsigned most) noexcept {
    return std::bit_ceil(std::clamp(asked, 1u, most));
}

const char* remedy_for(int error) noexcept {
    switch (error) {
        case EMFILE:
            return " (all descriptors of this process are in use: close some or raise "
                   "RLIMIT_NOFILE, ulimit -n)";
        case ENFILE:
            return " (all descriptors of this machine are in use: raise sysctl fs.file-max)";
        case ENOMEM:
            return " (the kernel is out of memory: free some, or see the limit of the container)";
        case EPERM:
        case EACCES:
        case ENOSYS:
            return " (a seccomp filter forbids it: allow epoll_create1, epoll_ctl, epoll_wait, "
                   "epoll_pwait and epoll_pwait2)";
        default: return " (unexpected; see epoll(7))";
    }
}

/// std::system_error whose text ends with the remedy: "CALL: MESSAGE (REMEDY)".
class setup_error final : public std::system_error {
public:
    setup_error(int error, const char* call)
        : std::system_error(error, std::system_category(), call),
          text_(std::string(std::system_error::what()) + remedy_for(error)) {}

    const char* what() const noexcept override { return text_.what(); }

private:
    std::runtime_error text_;  // a string that copies without an exception
};

/// Tries the other calls, too: what a filter forbids is said here, and not by a request that waits
/// for ever.
detail::unique_fd create_epoll() {
    detail::unique_fd made(::epoll_create1(EPOLL_CLOEXEC));
    if (!made) throw setup_error(errno, "epoll_create1");
    ::epoll_event event{};
    // No set can hold itself: EINVAL is what a kernel says who lets us ask.
    if (::epoll_ctl(made.get(), EPOLL_CTL_DEL, made.get(), &event) < 0 && errno != EINVAL) {
        throw setup_error(errno, "epoll_ctl");
    }
    if (::epoll_wait(made.get(), &event, 1, 0) < 0 && errno != EINTR) {
        throw setup_error(errno, "epoll_wait");
    }
    return made;
}

}  // namespace

struct epoll_engine::state {
    explicit state(const engine_options& options)
        : entry_count(size_between(options.entries, most_entries)),
          entries(std::make_unique<entry_storage[]>(entry_count)),
          completions(size_between(options.completions, most_completions)),
          requests(epoll.get(), completions, carried_out - options.without) {}

    void poll(duration timeout);
    int wait(duration timeout);

    const detail::unique_fd epoll{create_epoll()};
    const unsigned entry_count;
    std::unique_ptr<entry_storage[]> entries;
    detail::epoll_completions completions;
    detail::epoll_requests requests;
    std::array<::epoll_event, 256> events{};
    std::uint64_t wait_calls = 0;
    unsigned turns_unpolled = 0;
    bool precise = true;  // epoll_pwait2 is there
};

epoll_engine::epoll_engine(const engine_options& options)
    : state_(std::make_unique<state>(options)) {
    sq_.entries = state_->entries[0].bytes;
    sq_.capacity = state_->entry_count;
    sq_.mask = sq_.capacity - 1;
    set_taken(0);
    cq_.entries = state_->completions.entries();
    cq_.head = state_->completions.head();
    cq_.tail = state_->completions.tail();
    cq_.mask = state_->completions.mask();
    features_ = carried_out - options.without;
}

epoll_engine::~epoll_engine() = default;

bool epoll_engine::enter(duration timeout) {
    state& s = *state_;
    s.requests.called = false;
    s.completions.deliver_backlog();
    s.requests.begin_turn();
    while (sq_.head != sq_.tail) {
        const std::byte* entry = sq_.entries + entry_size * (sq_.head & sq_.mask);
        set_taken(sq_.head + 1);
        s.requests.carry_out(*reinterpret_cast<const io_uring_sqe*>(entry));
    }
    s.requests.resume();
    s.poll(timeout);
    return s.requests.called;
}

/// Takes readiness from epoll, waiting for it only if there is nothing else to do.
void epoll_engine::state::poll(duration timeout) {
    // Who reads what is there asks again soon: the call is saved, but only so often, since
    // others wait for their readiness.
    constexpr unsigned most_unpolled = 4;
    const bool busy = completions.any() || requests.interrupted();
    if (busy) {
        if (requests.waiting() == 0 || turns_unpolled++ < most_unpolled) return;
        timeout = no_wait;
    } else if (timeout <= no_wait) {
        if (requests.waiting() == 0) return;
        timeout = no_wait;
    }
    turns_unpolled = 0;

    using std::chrono::steady_clock;
    const bool endless = timeout > duration::max() / 2;
    const bool timed = !endless && timeout != no_wait;
    const steady_clock::time_point deadline =
        timed ? steady_clock::now() + timeout : steady_clock::time_point{};
    for (;;) {
        const int count = wait(endless ? forever : timeout);
        if (count < 0) return;
        for (int i = 0; i < count; ++i) {
            const ::epoll_event& event = events[static_cast<std::size_t>(i)];
            requests.ready(event.data.u64, event.events);
        }
        // An event need not complete anything: the wait goes on then.
        if (busy || completions.any() || requests.interrupted()) return;
        if (endless) continue;
        if (!timed) return;
        timeout = deadline - steady_clock::now();
        if (timeout <= no_wait) return;
    }
}

/// The number of events, or -1 when a signal came first.
int epoll_engine::state::wait(duration timeout) {
    using std::chrono::milliseconds;
    constexpr int most = static_cast<int>(std::tuple_size_v<decltype(events)>);
    requests.called = true;
    ++wait_calls;
    int count = -1;
    if (precise && timeout != no_wait && timeout != forever) {
        const auto seconds = std::chrono::floor<std::chrono::seconds>(timeout);
        const ::timespec limit{seconds.count(), (timeout - seconds).count()};
        count = ::epoll_pwait2(epoll.get(), events.data(), most, &limit, nullptr);
        // Filters that do not know the call answer with the one or the other.
        if (count < 0 && (errno == ENOSYS || errno == EPERM)) {
            precise = false;
            return wait(timeout);
        }
    } else {
        int limit = -1;
        if (timeout != forever) {
            constexpr milliseconds longest{std::numeric_limits<int>::max()};
            const auto rounded = std::chrono::ceil<milliseconds>(timeout);
            limit = static_cast<int>(std::min(rounded, longest).count());
        }
        count = ::epoll_wait(epoll.get(), events.data(), most, limit);
    }
    if (count < 0 && errno != EINTR) {
        throw std::system_error(errno, std::system_category(), "epoll_wait");
    }
    return count;
}

std::error_code epoll_engine::register_buffer_ring(std::uint16_t group, void* ring,
                                                   unsigned entries) {
    const auto error = [](int number) { return std::error_code(number, std::system_category()); };
    if (!has(feature::buffer_ring)) return error(EINVAL);
    if (ring == nullptr) return error(EFAULT);
    const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
    if (reinterpret_cast<std::uintptr_t>(ring) % page != 0) return error(EINVAL);
    if (!std::has_single_bit(entries) || entries > most_entries) return error(EINVAL);
    detail::epoll_buffers& buffers = state_->requests.buffers();
    if (buffers.find(group) != nullptr) return error(EEXIST);
    buffers.add(group, ring, entries);
    return {};
}

void epoll_engine::unregister_buffer_ring(std::uint16_t group) noexcept {
    state_->requests.buffers().remove(group);
}

void epoll_engine::forget(int descriptor) noexcept { state_->requests.forget(descriptor); }

std::uint64_t epoll_engine::overflows() const noexcept { return state_->completions.overflows(); }

std::uint64_t epoll_engine::control_calls() const noexcept {
    return state_->requests.control_calls;
}

std::uint64_t epoll_engine::wait_calls() const noexcept { return state_->wait_calls; }

}  // namespace rondo::inline v0
