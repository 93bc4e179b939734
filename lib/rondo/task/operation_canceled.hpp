// The exception by which a cancelled task unwinds.
#pragma once

#include <cstddef>
#include <exception>
#include <system_error>

namespace rondo::inline v0 {

/// Thrown by an awaited operation in a cancelled context; code() is
/// std::errc::operation_canceled. A class of its own, so that owners of many children tell it from
/// a failure without rethrowing each.
class operation_canceled final : public std::system_error {
public:
    explicit operation_canceled(std::size_t transferred = 0)
        : std::system_error(std::make_error_code(std::errc::operation_canceled)),
          transferred_(transferred) {}
    operation_canceled(const operation_canceled&) noexcept = default;
    operation_canceled& operator=(const operation_canceled&) noexcept = default;
    ~operation_canceled() override;

    /// Bytes that an all-or-nothing operation had moved before it was cut short.
    std::size_t transferred() const noexcept { return transferred_; }

private:
    std::size_t transferred_;
};

/// Whether `failure` holds an operation_canceled.
bool is_canceled(const std::exception_ptr& failure) noexcept;

namespace detail {
[[noreturn]] void throw_canceled(std::size_t transferred = 0);
}

}  // namespace rondo::inline v0
