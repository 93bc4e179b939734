// Waiting until a descriptor of any kind can be read.
#pragma once

#include <rondo/io/operation.hpp>
#include <rondo/task/task.hpp>

#include <string>

namespace rondo::inline v0 {

namespace detail {

/// One request of poll(2)'s POLLIN.
class [[nodiscard]] poll_operation final : public operation {
public:
    explicit poll_operation(int descriptor) noexcept : descriptor_(descriptor) {}
    void await_resume() const;
    std::string awaits() const override;

private:
    void prepare(io_uring_sqe& entry) noexcept override;
    int descriptor_;
};

}  // namespace detail

/// Completes when read(2) of `descriptor` would not block: there are bytes, the end, or an error
/// to report. For terminals, pipes and descriptors of other libraries, which stay theirs and must
/// stay open until then; sockets have recv(). Regular files always can be read. A kernel may wake
/// it early (select(2), BUGS), so make non-blocking what must not hold up the loop. Throws
/// std::system_error, or operation_canceled, and nothing is read then.
task<> readable(int descriptor);

}  // namespace rondo::inline v0
