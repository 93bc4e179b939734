// Awaiting that a listener has a connection.
#pragma once

#include <rondo/detail/unique_fd.hpp>
#include <rondo/io/accept_state.hpp>

#include <coroutine>
#include <source_location>
#include <string>
#include <system_error>

namespace rondo::inline v0::detail {

/// accept(), but for the kind of socket that comes of it.
class accept_base : public accept_waiter {
public:
    template <has_context Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location place = std::source_location::current()) {
        return wait(awaiting, context_at(awaiting, place));
    }
    std::error_code error() noexcept;
    std::string awaits() const override;

protected:
    explicit accept_base(accept_state& state) noexcept : accept_waiter(state) {}
    ~accept_base() = default;

    /// The accepted descriptor. Throws what accept() fails with.
    unique_fd take();

private:
    void collect() noexcept;

    bool collected_ = false;  // result_ is final
};

template <typename Socket>
class [[nodiscard]] accept_operation final : public accept_base {
public:
    explicit accept_operation(accept_state& state) noexcept : accept_base(state) {}

    Socket await_resume() { return Socket(take()); }
};

}  // namespace rondo::inline v0::detail
