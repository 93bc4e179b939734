// The errors of sockets: a text that names the verb, the endpoint and what to check.
#pragma once

#include <rondo/net/endpoint.hpp>
#include <rondo/net/unix_address.hpp>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <exception>
#include <stdexcept>
#include <string>
#include <system_error>
#include <variant>

namespace rondo::inline v0 {

/// One end of a socket of any kind, or unknown.
using socket_place = std::variant<std::monostate, endpoint, unix_address>;

/// A failed call on a socket. `code()` is the errno in `std::generic_category()`; `what()` reads
/// `connect 127.0.0.1:8000: Connection refused (nothing listens there; see ss -ltn)`. The text is
/// made at the first `what()`, as most errors of a server are caught and never read. Copying does
/// not throw; `what()` may be called from several threads at once.
class socket_error : public std::system_error {
public:
    /// `verb` is a literal, or outlives this error and its copies. `error` is an errno above 0.
    socket_error(const char* verb, int error, const endpoint* where = nullptr,
                 std::size_t transferred = 0);
    socket_error(const char* verb, int error, const socket_place& where,
                 std::size_t transferred = 0);
    socket_error(const socket_error& other) noexcept;
    socket_error& operator=(const socket_error& other) noexcept;
    ~socket_error() override;

    [[nodiscard]] const char* what() const noexcept override;

    /// How many bytes went through before an all-or-nothing operation was cut short.
    [[nodiscard]] std::size_t transferred() const noexcept { return transferred_; }

private:
    [[nodiscard]] std::string text() const;

    const char* verb_;
    std::size_t transferred_;
    socket_place where_;
    // Null until the first what(), then constant.
    mutable std::atomic<const std::string*> text_ = nullptr;
};

/// The peer is gone: it reset the connection, or answers no more (ECONNRESET, ECONNABORTED, EPIPE,
/// ETIMEDOUT on an established connection). Everyday to a server; a class of its own so that
/// owners of many connections tell it from other failures without rethrowing each.
class connection_lost final : public socket_error {
public:
    using socket_error::socket_error;
    connection_lost(const connection_lost&) noexcept = default;
    connection_lost& operator=(const connection_lost&) noexcept = default;
    ~connection_lost() override;
};

/// Whether `error`, an errno of recv or send, means that the peer is gone.
constexpr bool is_connection_lost(int error) noexcept {
    return error == ECONNRESET || error == ECONNABORTED || error == EPIPE || error == ETIMEDOUT;
}
/// Whether `failure` holds a connection_lost.
bool is_connection_lost(const std::exception_ptr& failure) noexcept;

/// Throws a `socket_error`. Out of line, so that a caller's hot path holds one call.
[[noreturn]] void throw_socket_error(const char* verb, int error, const endpoint* where = nullptr,
                                     std::size_t transferred = 0);
[[noreturn]] void throw_socket_error(const char* verb, int error, const socket_place& where,
                                     std::size_t transferred = 0);

/// An argument no call was made with: `std::errc::invalid_argument`, and a sentence of its own as
/// the whole `what()`, which names the input and what is expected.
class argument_error : public std::system_error {
public:
    explicit argument_error(const std::string& sentence);

    [[nodiscard]] const char* what() const noexcept override { return sentence_.what(); }

private:
    // Holds the text because its copies do not throw.
    std::runtime_error sentence_;
};

}  // namespace rondo::inline v0
