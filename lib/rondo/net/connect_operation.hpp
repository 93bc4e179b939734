// Awaiting that a connection is established.
#pragma once

#include <rondo/io/receive_state.hpp>
#include <rondo/net/endpoint.hpp>

#include <coroutine>
#include <source_location>
#include <string>
#include <system_error>

namespace rondo::inline v0::detail {

class [[nodiscard]] connect_operation final : public operation {
public:
    connect_operation(receive_state& state, const endpoint& remote) noexcept
        : state_(&state), remote_(remote), address_(remote) {}

    template <has_context Promise>
    void await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location place = std::source_location::current()) {
        begin(awaiting, context_at(awaiting, place));
    }
    void await_resume();
    std::error_code error() noexcept;
    std::string awaits() const override { return "connect to " + remote_.to_string(); }

private:
    void begin(std::coroutine_handle<> awaiting, context& where);
    void prepare(io_uring_sqe& entry) noexcept override;
    void fell_short() noexcept override;

    receive_state* state_;
    endpoint remote_;
    socket_address address_;
};

}  // namespace rondo::inline v0::detail
