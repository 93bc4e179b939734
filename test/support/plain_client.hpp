// A client of a program under test: plain calls that block, and give up after 30 s.
#pragma once

#include <rondo/detail/unique_fd.hpp>

#include <cstddef>
#include <string>
#include <string_view>

namespace rondo::test {

/// Where a call fails that no method expects to fail, it throws std::system_error.
class plain_client {
public:
    /// Connects to 127.0.0.1:PORT or [::1]:PORT. Below 0, `receive_buffer` is the system's choice.
    explicit plain_client(const std::string& where, int receive_buffer = -1);

    /// All of `bytes`.
    void send(std::string_view bytes);
    /// As much as the buffers on the way take, until nothing more goes for a tenth of a second.
    std::string send_until_stuck();
    /// Waits until the server, on 127.0.0.1, has read all that was sent; false after 30 s.
    bool is_read();
    /// Exactly `size` bytes, or fewer if the stream ends before.
    std::string receive(std::size_t size);
    /// All until the end of the stream.
    std::string receive_all();
    /// A line without its end; throws where the stream ends before.
    std::string read_line();
    bool at_end() { return receive(1).empty(); }
    /// Whether something arrives within `milliseconds`, be it the end of the stream.
    bool hears_within(int milliseconds) const;

    /// No more will be sent.
    void finish();
    /// Aborts the connection: the server gets ECONNRESET.
    void reset();

    /// Its own address, as servers print it.
    std::string local_name() const;

private:
    bool receive_more();

    detail::unique_fd socket_;
    std::string received_;  // and not yet asked for
};

/// Whether somebody listens at 127.0.0.1:PORT or [::1]:PORT.
bool can_connect(const std::string& where);

/// Text in which neighbours, and shifts by a buffer, differ.
std::string long_text(std::size_t size);

}  // namespace rondo::test
