// The base of a request that goes on by itself: after a short count, or by a step of another kind.
#pragma once

#include <rondo/io/completion_target.hpp>
#include <rondo/io/operation.hpp>

#include <cstdint>

namespace rondo::inline v0 {

/// An operation of no socket, so that nobody else's state sees to its next entry.
class continued_operation : public operation {
protected:
    continued_operation() noexcept : next_step_(*this) {}
    ~continued_operation() = default;

    /// In place of finish(), by fell_short(): prepare() is called again when entries may be taken.
    /// After a cancellation it ends with ECANCELED instead.
    void go_on() noexcept;

private:
    class next_step final : public completion_target {
    public:
        explicit next_step(continued_operation& of) noexcept : of_(&of) {}
        void complete(std::int32_t, std::uint32_t) noexcept override {}
        void attend() noexcept override { of_->proceed(); }
        void stop() override {}
        bool stopped() const noexcept override { return true; }
        void unbind() override {}

    private:
        continued_operation* of_;
    };

    next_step next_step_;
};

}  // namespace rondo::inline v0
