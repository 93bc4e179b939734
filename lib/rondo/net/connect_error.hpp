// The error of a connection that was tried at several endpoints.
#pragma once

#include <rondo/net/endpoint.hpp>
#include <rondo/net/socket_error.hpp>

#include <memory>
#include <span>
#include <string>
#include <system_error>
#include <vector>

namespace rondo::inline v0 {

/// No endpoint could be connected to. As a socket_error it is that of the most telling attempt: a
/// host that refuses comes before one that does not answer, and that before one there is no way
/// to; among equals the last. `what()` names the others behind it.
class connect_error final : public socket_error {
public:
    /// An endpoint that could not be connected to, and why.
    struct attempt {
        endpoint remote;
        const char* verb = nullptr;  ///< a literal: the call that failed
        std::error_code error;
    };

    /// `attempts` is not empty.
    explicit connect_error(const std::vector<attempt>& attempts);
    connect_error(const connect_error&) noexcept = default;
    connect_error& operator=(const connect_error&) noexcept = default;
    ~connect_error() override;

    [[nodiscard]] const char* what() const noexcept override { return all_->text.c_str(); }

    /// In the order they were begun.
    [[nodiscard]] std::span<const attempt> attempts() const noexcept { return all_->attempts; }

private:
    struct shared {
        std::vector<attempt> attempts;
        std::string text;
    };

    connect_error(const std::vector<attempt>& attempts, const attempt& telling);

    // Shared by copies, which do not throw.
    std::shared_ptr<const shared> all_;
};

}  // namespace rondo::inline v0
