// The chapter docs/guide/time-outs.md shows this file, piece by piece.
#include <rondo/rondo.hpp>
#include <rondo/testing/socket_pair.hpp>

#include <catch2/catch_test_macros.hpp>

#include <string>

using namespace std::chrono_literals;

// Looks after other things each millisecond, until all has come.
rondo::task<std::string> receive_patiently(rondo::tcp_socket& from, int& timed_out) {
    std::string all;
    for (;;) {
        auto data = co_await rondo::as_result(rondo::with_timeout(1ms, from.recv()));
        if (data.error() == std::errc::timed_out) {
            ++timed_out;
            continue;
        }
        if (!data.value()) co_return all;  // the end of the stream; or throws, if it is an error
        all += data.value().text();
    }
}

rondo::task<> send_late(rondo::tcp_socket& to, const int& timed_out) {
    for (int piece = 0; piece < 10; ++piece) {
        // Not before the other side has run out of patience once more.
        while (timed_out <= piece) co_await rondo::sleep_for(100us);
        co_await to.send("hello ");
    }
    to.shutdown(rondo::shutdown_mode::send);
}

TEST_CASE("a receive that timed out loses nothing", "[guide]") {
    auto pair = rondo::testing::tcp_socket_pair();
    int timed_out = 0;
    auto [received, nothing] = rondo::run(
        rondo::when_all(receive_patiently(pair.a, timed_out), send_late(pair.b, timed_out)));
    CHECK(timed_out >= 10);
    CHECK(received.size() == 10 * std::string("hello ").size());
}
