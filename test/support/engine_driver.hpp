// Driving an engine by its own interface: entries in, completions out.
#pragma once

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/generators/catch_generators_range.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <rondo/detail/unique_fd.hpp>
#include <rondo/engine/abi.hpp>
#include <rondo/engine/epoll_engine.hpp>
#include <rondo/engine/uring_engine.hpp>

namespace rondo::test {

using clock_type = std::chrono::steady_clock;

struct engine_kind {
    std::string name;
    std::function<std::unique_ptr<engine>(engine_options)> make;
};

template <class Engine>
engine_kind kind_of(std::string name) {
    return {std::move(name), [](engine_options options) -> std::unique_ptr<engine> {
                return std::make_unique<Engine>(options);
            }};
}

inline const std::vector<engine_kind>& kinds() {
    static const std::vector<engine_kind> all{kind_of<rondo::epoll_engine>("epoll"),
                                              kind_of<rondo::uring_engine>("uring")};
    return all;
}

/// Runs the rest of the test once for each engine; where there is no io_uring its turn is skipped.
inline std::unique_ptr<engine> each_engine(engine_options options = {}) {
    const engine_kind kind = GENERATE(from_range(kinds()));
    try {
        return kind.make(options);
    } catch (const std::system_error& error) {
        const int value = error.code().value();
        if (value != EPERM && value != EACCES && value != ENOSYS) throw;
        SKIP(error.what());
    }
    return nullptr;
}

inline constexpr std::uint32_t more = IORING_CQE_F_MORE;
inline constexpr std::uint32_t with_buffer = IORING_CQE_F_BUFFER;

/// Prepares entries and gathers what came of them.
class driver {
public:
    explicit driver(engine_options options = {})
        : engine_(each_engine(options)),
          told_(Catch::MessageBuilder("INFO", CATCH_INTERNAL_LINEINFO, Catch::ResultWas::Info)
                << "engine " << engine_->name()) {}

    engine& get() noexcept { return *engine_; }

    io_uring_sqe& prepare(int opcode, std::uint64_t user_data, int descriptor = -1) {
        io_uring_sqe* entry = engine_->next_entry();
        if (entry == nullptr) {
            enter(engine::no_wait);
            entry = engine_->next_entry();
        }
        REQUIRE(entry != nullptr);
        *entry = io_uring_sqe{};
        entry->opcode = static_cast<std::uint8_t>(opcode);
        entry->fd = descriptor;
        entry->user_data = user_data;
        return *entry;
    }

    io_uring_sqe& recv(std::uint64_t user_data, int descriptor, void* data, std::size_t size,
                       int flags = 0) {
        return transfer(IORING_OP_RECV, user_data, descriptor, data, size, flags);
    }
    io_uring_sqe& send(std::uint64_t user_data, int descriptor, const void* data, std::size_t size,
                       int flags = 0) {
        return transfer(IORING_OP_SEND, user_data, descriptor, data, size, flags);
    }
    io_uring_sqe& recv_multishot(std::uint64_t user_data, int descriptor, std::uint16_t group) {
        io_uring_sqe& entry = prepare(IORING_OP_RECV, user_data, descriptor);
        entry.ioprio = IORING_RECV_MULTISHOT;
        entry.flags = IOSQE_BUFFER_SELECT;
        entry.buf_group = group;
        return entry;
    }
    io_uring_sqe& poll(std::uint64_t user_data, int descriptor, std::uint32_t events) {
        io_uring_sqe& entry = prepare(IORING_OP_POLL_ADD, user_data, descriptor);
        entry.poll32_events = events;
        return entry;
    }
    io_uring_sqe& cancel(std::uint64_t user_data, std::uint64_t target, unsigned flags = 0) {
        io_uring_sqe& entry = prepare(IORING_OP_ASYNC_CANCEL, user_data);
        entry.addr = target;
        entry.cancel_flags = flags;
        return entry;
    }

    bool enter(engine::duration timeout) { return engine_->enter(timeout); }

    /// Moves what can be read into seen().
    void reap() {
        const unsigned end = engine_->completions_end();
        for (unsigned i = engine_->completions_begin(); i != end; ++i) {
            seen_.push_back(engine_->completion_at(i));
        }
        engine_->completions_consumed(end);
    }

    /// Turns until `done` holds; fails the test when it does not come true.
    template <class Condition>
    void until(Condition done) {
        using namespace std::chrono_literals;
        const auto deadline = clock_type::now() + 10s;
        enter(engine::no_wait);
        reap();
        while (!done()) {
            REQUIRE(clock_type::now() < deadline);
            enter(100ms);
            reap();
        }
    }

    /// Waits for the `count`th completion of that user_data and returns it.
    completion wait(std::uint64_t user_data, std::size_t count = 1) {
        until([&] { return of(user_data).size() >= count; });
        return of(user_data)[count - 1];
    }

    /// Gives what is under way the chance to complete wrongly.
    void settle() {
        for (int i = 0; i < 8; ++i) {
            enter(engine::no_wait);
            reap();
        }
    }

    std::vector<completion> of(std::uint64_t user_data) const {
        std::vector<completion> found;
        std::copy_if(seen_.begin(), seen_.end(), std::back_inserter(found),
                     [&](const completion& c) { return c.user_data == user_data; });
        return found;
    }
    const std::vector<completion>& seen() const noexcept { return seen_; }

private:
    io_uring_sqe& transfer(int opcode, std::uint64_t user_data, int descriptor, const void* data,
                           std::size_t size, int flags) {
        io_uring_sqe& entry = prepare(opcode, user_data, descriptor);
        entry.addr = reinterpret_cast<std::uintptr_t>(data);
        entry.len = static_cast<std::uint32_t>(size);
        entry.msg_flags = static_cast<std::uint32_t>(flags);
        return entry;
    }

    std::unique_ptr<engine> engine_;
    Catch::ScopedMessage told_;  // with every failure of the test: which engine
    std::vector<completion> seen_;
};

/// The caller's side of a provided-buffer ring of 8 slots.
class buffers {
public:
    static constexpr unsigned entries = 8;

    buffers(engine& owner, std::uint16_t group, std::size_t size)
        : owner_(owner),
          group_(group),
          size_(size),
          data_(entries * size),
          memory_(
              ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
        REQUIRE(memory_ != MAP_FAILED);
        const std::error_code error = owner.register_buffer_ring(group, memory_, entries);
        REQUIRE_FALSE(error);
    }
    buffers(const buffers&) = delete;
    buffers& operator=(const buffers&) = delete;
    ~buffers() {
        owner_.unregister_buffer_ring(group_);
        ::munmap(memory_, 4096);
    }

    void give(std::uint16_t id) {
        auto* slots = static_cast<rondo::abi::buffer_slot*>(memory_);
        rondo::abi::buffer_slot& slot = slots[tail_ % entries];
        slot.address = reinterpret_cast<std::uintptr_t>(data_.data() + id * size_);
        slot.length = static_cast<std::uint32_t>(size_);
        slot.id = id;
        ++tail_;
        std::atomic_ref<std::uint16_t>(slots[0].reserved).store(tail_, std::memory_order_release);
    }
    void give_all() {
        for (std::uint16_t id = 0; id < entries; ++id) give(id);
    }

    static std::uint16_t id_of(const completion& c) {
        return static_cast<std::uint16_t>(c.flags >> IORING_CQE_BUFFER_SHIFT);
    }
    std::string text(const completion& c) const {
        return {data_.data() + id_of(c) * size_, static_cast<std::size_t>(c.result)};
    }

private:
    engine& owner_;
    const std::uint16_t group_;
    const std::size_t size_;
    std::vector<char> data_;
    void* memory_;
    std::uint16_t tail_ = 0;
};

struct pair {
    detail::unique_fd a;
    detail::unique_fd b;
};

inline pair unix_pair(int type = SOCK_STREAM | SOCK_NONBLOCK) {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) == 0);
    return {detail::unique_fd(ends[0]), detail::unique_fd(ends[1])};
}

}  // namespace rondo::test
