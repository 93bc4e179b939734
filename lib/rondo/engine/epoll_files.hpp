// Requests that epoll cannot wait for: epoll_engine has them carried out on helper threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <rondo/detail/helper_pool.hpp>
#include <rondo/engine/epoll_completions.hpp>

struct io_uring_sqe;

namespace rondo::inline v0::detail {

/// OPENAT, FSYNC and FADVISE, READ and WRITE on what has no readiness. A helper thread leaves its
/// result in an outbox and signals an eventfd; the owner takes it from there by reap(). The
/// threads are started by the first request.
class epoll_files {
public:
    /// What epoll tells of the eventfd: no descriptor has this tag.
    static constexpr std::uint64_t tag = ~std::uint64_t{0};

    /// `epoll` stays the caller's.
    epoll_files(int epoll, epoll_completions& completions);
    epoll_files(const epoll_files&) = delete;
    epoll_files& operator=(const epoll_files&) = delete;
    /// Waits for requests that have begun.
    ~epoll_files();

    /// Whether a READ or WRITE of this descriptor has to come here; a negated errno on failure.
    static int takes(int descriptor) noexcept;

    void start(const io_uring_sqe& entry);

    /// Ends the requests of that user_data, or one of them. Returns how many there were, -EALREADY
    /// when one has begun and goes on to its end, -ENOENT without any.
    int cancel(std::uint64_t user_data, bool all);

    /// Completes what the helper threads have done.
    void reap();

    std::size_t in_flight() const noexcept { return jobs_.size(); }

private:
    struct request;
    class job;
    struct outbox;

    bool read_at_once(job& which);
    void begin(std::unique_ptr<job> made);
    void complete(const job& which);
    std::unique_ptr<job> take(job& which) noexcept;

    const int epoll_;
    epoll_completions& completions_;
    std::vector<std::unique_ptr<job>> jobs_;  // in flight; each knows its place
    std::unique_ptr<outbox> outbox_;
    std::unique_ptr<helper_pool> helpers_;
    bool told_of_threads_ = false;
};

}  // namespace rondo::inline v0::detail
