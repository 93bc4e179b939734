// A chat in the terminal: what is typed goes to the server, what others say comes out.
//
//     ./samples/run chat_client                       talks to localhost:8001
//     printf '/who\n' | ./samples/run chat_client     asks, prints the answer, and ends
#include <rondo/rondo.hpp>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include <unistd.h>

#include <array>
#include <cerrno>

namespace {

// Until the server ends the connection.
rondo::task<> show_lines(rondo::tcp_socket& server) {
    while (auto data = co_await server.recv()) {
        std::fwrite(data.data(), 1, data.size(), stdout);
        std::fflush(stdout);
    }
}

rondo::task<> send_input(rondo::tcp_socket& server) {
    std::array<std::byte, 4096> buffer;
    for (;;) {
        // A read that waits would keep everything else from running.
        co_await rondo::readable(STDIN_FILENO);
        const ssize_t size = ::read(STDIN_FILENO, buffer.data(), buffer.size());
        if (size < 0 && (errno == EAGAIN || errno == EINTR)) continue;
        if (size < 0) throw std::system_error(errno, std::generic_category(), "standard input");
        if (size == 0) break;
        const auto typed = std::span(buffer).first(static_cast<std::size_t>(size));
        const auto sent = co_await rondo::as_result(server.send(typed));
        // The server has gone: its last words are still to be shown, and then why.
        if (sent.error() && sent.error() != std::errc::operation_canceled) co_return;
    }
    // Nothing more will be said, but what is still owed to us can come.
    server.shutdown(rondo::shutdown_mode::send);
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
    CLI::App app("Sends the lines of standard input to a chat and prints what it says.");
    app.add_option("HOST:PORT", where, "the server")->capture_default_str();
    CLI11_PARSE(app, argc, argv);

    try {
        rondo::run(chat(where));
    } catch (const std::exception& failure) {
        fmt::print(stderr, "chat_client: {}\n", failure.what());
        return 1;
    }
}
