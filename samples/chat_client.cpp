// A chat in the terminal: what is typed goes to the server, what others say comes out.
//
//     ./samples/run chat_client                       talks to localhost:8001
//     printf '/who\n' | ./samples/run chat_client     asks, prints the answer, and ends
#include "command_line.hpp"

#include <rondo/rondo.hpp>

#include <fmt/core.h>

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace {

// Until the server ends the connection.
rondo::task<> show_lines(rondo::tcp_socket& server) {
    while (auto data = co_await server.recv()) {
        std::fwrite(data.data(), 1, data.size(), stdout);
        std::fflush(stdout);
    }
}

// Empty at its end.
std::string read_input() {
    std::string typed(4096, '\0');
    const ssize_t size = ::read(STDIN_FILENO, typed.data(), typed.size());
    if (size < 0) throw std::system_error(errno, std::generic_category(), "standard input");
    typed.resize(static_cast<std::size_t>(size));
    return typed;
}

rondo::task<> send_input(rondo::tcp_socket& server) {
    for (;;) {
        co_await rondo::readable(STDIN_FILENO);
        // A read may wait even so, as where another program took the bytes first (select(2), BUGS).
        // On a helper thread it does not keep what others say from being shown.
        auto typed = co_await rondo::as_result(rondo::blocking(read_input));
        const std::error_code failed = typed.error();
        if (failed == std::errc::resource_unavailable_try_again) continue;
        if (failed == std::errc::interrupted) continue;
        const std::string& text = typed.value();  // throws any other error
        if (text.empty()) break;
        const auto sent = co_await rondo::as_result(server.send(text));
        // The server has gone: its last words are still to be shown, and then why.
        if (sent.error() && sent.error() != std::errc::operation_canceled) co_return;
    }
    // Nothing more will be said, but what is still owed to us can come.
    try {
        server.shutdown(rondo::shutdown_mode::send);
    } catch (const rondo::socket_error& failed) {
        if (failed.code() != std::errc::not_connected) throw;  // else it has gone, as above
    }
}

rondo::task<> chat(std::string where) {
    rondo::tcp_socket server = co_await rondo::tcp_connect(where);
    co_await rondo::with_task_group([&](rondo::task_group& group) -> rondo::task<> {
        group.spawn([&server] { return send_input(server); });
        co_await show_lines(server);
        group.cancel();  // nobody is there any more to be talked to
    });
}

}  // namespace

int main(int argc, char** argv) {
    std::string where = "localhost:8001";
    command_line line("Sends the lines of standard input to a chat and prints what it says.");
    line.add("HOST:PORT", where, "the server");
    line.parse(argc, argv);

    // Where standard input is closed, something else would come to be it.
    if (::fcntl(STDIN_FILENO, F_GETFD) < 0) ::open("/dev/null", O_RDONLY);
    return rondo::run_main(chat(where));
}
