// run() on several threads, and what its threads do together.
#include <rondo/io/on.hpp>
#include <rondo/io/run.hpp>
#include <rondo/io/signal.hpp>
#include <rondo/net/serve.hpp>
#include <rondo/net/tcp.hpp>
#include <rondo/net/unix.hpp>
#include <rondo/sync/shared_channel.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/sleep.hpp>
#include <rondo/task/task_group.hpp>
#include <rondo/task/when_all.hpp>
#include <rondo/task/with_timeout.hpp>

#include <support/child_process.hpp>
#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/thrown_by.hpp>

#include <catch2/catch_test_macros.hpp>

#include <signal.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace rondo;
using namespace std::chrono_literals;

namespace {

run_options on_threads(unsigned count) {
    run_options made = test::options();
    made.threads = count;
    return made;
}

// Where threads meet: nobody goes on before all are here.
class meeting {
public:
    explicit meeting(unsigned size) : missing_(size) {}
    task<> come() {
        --missing_;
        while (missing_ != 0) co_await test::next_turn();
    }

private:
    std::atomic<unsigned> missing_;
};

task<std::string> receive(tcp_socket& from, std::size_t size) {
    std::string text;
    while (text.size() < size) {
        auto data = co_await from.recv();
        if (!data) break;
        text += data.text();
    }
    co_return text;
}

task<scheduler*> other_scheduler() {
    scheduler& here = co_await this_scheduler();
    for (scheduler* each : here.siblings()) {
        if (each != &here) co_return each;
    }
    throw std::logic_error("run on one thread");
}

}  // namespace

// --- memory --------------------------------------------------------------------------------------

// ThreadSanitizer knows of send(2) and recv(2), and is told of the ring's.
TEST_CASE("what was written before a send is seen after its recv on another thread",
          "[run][threads]") {
    auto ends = unix_socket::pair();
    int written = 0;
    int seen = 0;
    std::thread reader([&] {
        rondo::run(test::options(), [&]() -> task<> {
            const auto data = co_await ends.second.recv();
            if (data) seen = written;
            co_await ends.second.close();
        });
    });
    rondo::run(test::options(), [&]() -> task<> {
        written = 1;
        co_await ends.first.send("x");
        co_await ends.first.close();
    });
    reader.join();
    CHECK(seen == 1);
}

// --- run -----------------------------------------------------------------------------------------

TEST_CASE("run calls the function once on each thread, each with a scheduler of its own",
          "[run][threads]") {
    std::mutex lock;
    std::set<std::thread::id> threads;
    std::set<scheduler*> schedulers;
    std::size_t siblings = 0;
    rondo::run(on_threads(3), [&]() -> task<> {
        scheduler& here = co_await this_scheduler();
        const std::lock_guard guard(lock);
        threads.insert(std::this_thread::get_id());
        schedulers.insert(&here);
        siblings += here.siblings().size();
    });
    CHECK(siblings == 9);
    CHECK(threads.size() == 3);
    CHECK(threads.contains(std::this_thread::get_id()));
    CHECK(schedulers.size() == 3);
}

TEST_CASE("run on several threads returns the value of the caller's", "[run][threads]") {
    const auto caller = std::this_thread::get_id();
    const bool own = rondo::run(on_threads(2), [caller]() -> task<bool> {
        co_return std::this_thread::get_id() == caller;
    });
    CHECK(own);
}

TEST_CASE("run gives each thread copies of its arguments", "[run][threads]") {
    std::atomic<int> calls = 0;
    auto append = [&calls](std::string text) -> task<> {
        text += "b";
        if (text == "ab") ++calls;
        co_return;
    };
    rondo::run(on_threads(4), append, std::string("a"));
    CHECK(calls == 4);
}

TEST_CASE("run on 0 threads takes one for each processor it may use", "[run][threads]") {
    std::atomic<std::size_t> calls = 0;
    std::size_t siblings = 0;
    rondo::run(on_threads(0), [&]() -> task<> {
        scheduler& here = co_await this_scheduler();
        if (++calls == 1) siblings = here.siblings().size();
        co_return;
    });
    CHECK(calls >= 1);
    CHECK(calls == siblings);
}

TEST_CASE("run on several threads refuses what cannot be copied", "[run][threads]") {
    std::error_code code;
    try {
        rondo::run(on_threads(2), [](std::unique_ptr<int>) -> task<> { co_return; },
                   std::make_unique<int>(1));
    } catch (const std::system_error& refused) {
        code = refused.code();
    }
    CHECK(code == std::errc::invalid_argument);
}

TEST_CASE("a failure on one thread cancels the others and is rethrown once", "[run][threads]") {
    meeting all(3);
    std::atomic<unsigned> cancelled = 0;
    std::atomic<unsigned> next = 0;
    std::string message;
    try {
        rondo::run(on_threads(3), [&]() -> task<> {
            const bool fails = ++next == 2;
            co_await all.come();
            if (fails) throw std::runtime_error("on one of three");
            try {
                co_await sleep_for(1h);
            } catch (const operation_canceled&) {
                ++cancelled;
                throw;
            }
        });
    } catch (const std::runtime_error& failure) {
        message = failure.what();
    }
    CHECK(message == "on one of three");
    CHECK(cancelled == 2);
}

TEST_CASE("run throws where one thread's engine cannot be made, and runs nothing",
          "[run][threads]") {
    std::atomic<unsigned> made = 0;
    std::atomic<bool> ran = false;
    run_options options = on_threads(3);
    const auto inner = test::options().make_engine;
    options.make_engine = [&made, inner](const engine_options& queues) {
        if (++made == 2) throw std::runtime_error("no engine for the second");
        return inner ? inner(queues) : make_engine(engine_kind::automatic, queues);
    };
    std::string message;
    try {
        rondo::run(options, [&]() -> task<> {
            ran = true;
            co_return;
        });
    } catch (const std::runtime_error& failure) {
        message = failure.what();
    }
    CHECK(message == "no engine for the second");
    CHECK(!ran);
}

// --- on ------------------------------------------------------------------------------------------

TEST_CASE("on runs a task on another scheduler and returns its value here", "[threads][on]") {
    meeting all(2);
    std::atomic<unsigned> index = 0;
    rondo::run(on_threads(2), [&]() -> task<> {
        const bool first = index++ == 0;
        if (first) {
            scheduler* there = co_await other_scheduler();
            const auto here = std::this_thread::get_id();
            auto which = [](std::string text) -> task<std::pair<std::thread::id, std::string>> {
                co_await yield();
                co_return std::pair(std::this_thread::get_id(), text + "!");
            };
            const auto found = co_await on(*there, which, std::string("there"));
            CHECK(found.first != here);
            CHECK(found.second == "there!");
            CHECK(std::this_thread::get_id() == here);
        }
        co_await all.come();
    });
}

TEST_CASE("on throws here what the task threw there", "[threads][on]") {
    std::atomic<unsigned> index = 0;
    rondo::run(on_threads(2), [&]() -> task<> {
        if (index++ != 0) co_return;  // a thread whose root has ended still serves the others
        scheduler* there = co_await other_scheduler();
        auto fail = []() -> task<int> {
            co_await yield();
            throw std::runtime_error("over there");
        };
        std::string message;
        try {
            co_await on(*there, fail);
        } catch (const std::runtime_error& failure) {
            message = failure.what();
        }
        CHECK(message == "over there");
    });
}

TEST_CASE("a cancelled on cancels the task there and waits for it", "[threads][on][cancellation]") {
    std::atomic<unsigned> index = 0;
    std::atomic<bool> ended = false;
    rondo::run(on_threads(2), [&]() -> task<> {
        if (index++ != 0) co_return;
        scheduler* there = co_await other_scheduler();
        auto wait = [&ended]() -> task<> {
            try {
                co_await sleep_for(1h);
            } catch (const operation_canceled&) {
                ended = true;
                throw;
            }
        };
        bool late = false;
        try {
            co_await with_timeout(1ms, on(*there, wait));
        } catch (const operation_timed_out&) {
            late = true;
        }
        CHECK(late);
        CHECK(ended);
    });
}

TEST_CASE("on in a cancelled scope never sets out", "[threads][on][cancellation]") {
    std::atomic<unsigned> index = 0;
    std::atomic<bool> ran = false;
    rondo::run(on_threads(2), [&]() -> task<> {
        if (index++ != 0) co_return;
        scheduler* there = co_await other_scheduler();
        cancel_scope scope;
        scope.cancel();
        auto note = [&ran]() -> task<> {
            ran = true;
            co_return;
        };
        bool cancelled = false;
        try {
            co_await scope.run(on(*there, note));
        } catch (const operation_canceled&) {
            cancelled = true;
        }
        CHECK(cancelled);
    });
    CHECK(!ran);
}

TEST_CASE("a value that was there before the cancellation arrived is delivered",
          "[threads][on][cancellation]") {
    // Both orders happen over the rounds; in each either the value comes or the cancellation does.
    std::atomic<unsigned> index = 0;
    rondo::run(on_threads(2), [&]() -> task<> {
        if (index++ != 0) co_return;
        scheduler* there = co_await other_scheduler();
        for (int round = 0; round < 200; ++round) {
            cancel_scope scope;
            auto answer = []() -> task<int> { co_return 7; };
            int value = 0;
            bool cancelled = false;
            auto ask = [&]() -> task<> {
                try {
                    value = co_await scope.run(on(*there, answer));
                } catch (const operation_canceled&) {
                    cancelled = true;
                }
            };
            auto interrupt = [&]() -> task<> {
                for (int i = 0; i < round % 5; ++i) co_await test::next_turn();
                scope.cancel();
            };
            co_await when_all(ask(), interrupt());
            REQUIRE((value == 7) != cancelled);
        }
    });
}

TEST_CASE("a socket opened on one thread is used there by on", "[threads][on][tcp]") {
    std::atomic<unsigned> index = 0;
    rondo::run(on_threads(2), [&]() -> task<> {
        if (index++ != 0) co_return;
        scheduler* there = co_await other_scheduler();
        auto listener = tcp_listener::listen(endpoint(ip_address::v4_loopback(), 0));
        const endpoint where = listener.local_endpoint();
        auto client = [where]() -> task<std::string> {
            tcp_socket server = co_await tcp_connect(where);
            co_await server.send("ping");
            auto answer = co_await receive(server, 4);
            co_return answer;
        };
        auto serve = [&]() -> task<> {
            tcp_socket peer = co_await listener.accept();
            const std::string asked = co_await receive(peer, 4);
            CHECK(asked == "ping");
            co_await peer.send("pong");
        };
        auto results = co_await when_all(on(*there, client), serve());
        CHECK(std::get<0>(results) == "pong");
    });
}

// --- channels ------------------------------------------------------------------------------------

TEST_CASE("a channel carries values between the threads of a run", "[threads][shared_channel]") {
    shared_channel<int> numbers(8);
    std::atomic<unsigned> index = 0;
    std::atomic<long> sum = 0;
    rondo::run(on_threads(3), [&]() -> task<> {
        if (index++ == 0) {
            for (int i = 1; i <= 3000; ++i) co_await numbers.send(i);
            numbers.close();
            co_return;
        }
        for (;;) {
            auto number = co_await numbers.recv();
            if (!number) break;
            sum += *number;
        }
    });
    CHECK(sum == 3000L * 3001 / 2);
}

// --- servers -------------------------------------------------------------------------------------

namespace {

task<> echo(tcp_socket peer) {
    while (auto data = co_await peer.recv())
        co_await peer.send(data);
}

task<> ask_echo(endpoint where, int number) {
    tcp_socket server = co_await tcp_connect(where);
    const std::string text = "hello " + std::to_string(number);
    co_await server.send(text);
    const std::string got = co_await receive(server, text.size());
    CHECK(got == text);
}

}  // namespace

TEST_CASE("tcp_serve on several threads shares one port and spreads connections over all",
          "[threads][serve][tcp]") {
    std::mutex lock;
    std::set<std::thread::id> served_on;
    std::vector<endpoint> announced;
    std::atomic<unsigned> announcements = 0;
    std::atomic<unsigned> listening = 0;
    std::atomic<unsigned> index = 0;
    std::vector<cancel_scope> scopes(3);
    rondo::run(on_threads(3), [&]() -> task<> {
        const unsigned me = index++;
        scheduler& here = co_await this_scheduler();
        serve_options options;
        options.on_listening = [&](std::span<const endpoint> locals) {
            const std::lock_guard guard(lock);
            announced.assign(locals.begin(), locals.end());
            ++announcements;
        };
        auto handler = [&](tcp_socket peer) -> task<> {
            {
                const std::lock_guard guard(lock);
                served_on.insert(std::this_thread::get_id());
            }
            co_await echo(std::move(peer));
        };
        auto drive = [&]() -> task<> {
            if (me != 0) co_return;
            const bool opened = co_await test::eventually([&] {
                const std::lock_guard guard(lock);
                return !announced.empty();
            });
            REQUIRE(opened);
            // By chance a thread gets none of so many once in 10^50 runs.
            for (int i = 0; i < 300; ++i) {
                co_await ask_echo(announced[0], i);
                const std::lock_guard guard(lock);
                if (served_on.size() == 3) break;
            }
            for (scheduler* each : here.siblings()) {
                auto stop = [&scopes, each, &here]() -> task<> {
                    const auto all = here.siblings();
                    for (std::size_t i = 0; i < all.size(); ++i) {
                        if (all[i] == each) scopes[i].cancel();
                    }
                    co_return;
                };
                co_await on(*each, stop);
            }
        };
        std::size_t place = 0;
        while (here.siblings()[place] != &here) ++place;
        auto serve = [&]() -> task<> {
            ++listening;
            try {
                co_await scopes[place].run(
                    tcp_serve(std::string("localhost:0"), handler, options));
            } catch (const operation_canceled&) {
            }
        };
        co_await when_all(serve(), drive());
    });
    CHECK(listening == 3);
    CHECK(announcements == 1);
    CHECK(served_on.size() == 3);
}

TEST_CASE("a port that another program has is refused on all threads", "[threads][serve][tcp]") {
    auto taken = tcp_listener::listen(endpoint(ip_address::v4_loopback(), 0));
    const endpoint where = taken.local_endpoint();
    std::error_code code;
    try {
        rondo::run(on_threads(2), [where]() -> task<> { co_await tcp_serve(where, echo); });
    } catch (const std::system_error& refused) {
        code = refused.code();
    }
    CHECK(code == std::errc::address_in_use);
}

// --- signals -------------------------------------------------------------------------------------

TEST_CASE("SIGTERM stops the servers of all threads, and they drain", "[threads][signal]") {
    test::child_process program([] {
        run_options options;
        options.threads = 3;
        return run_main(options, []() -> task<> {
            serve_options serving;
            serving.on_listening = [](std::span<const endpoint> locals) {
                test::say(locals[0].to_string());
            };
            co_await tcp_serve(std::string("127.0.0.1:0"), echo, serving);
        });
    });
    const auto where = endpoint::parse(program.read_line());
    REQUIRE(where);
    test::run([where, &program]() -> task<> {
        std::vector<tcp_socket> clients;
        for (int i = 0; i < 12; ++i) {
            tcp_socket made = co_await tcp_connect(*where);
            co_await made.send("before");
            const std::string answer = co_await receive(made, 6);
            CHECK(answer == "before");
            clients.push_back(std::move(made));
        }
        program.signal(SIGTERM);
        for (tcp_socket& client : clients) {
            auto rest = co_await client.recv();
            CHECK(!rest);  // the server has ended its side
        }
    });
    CHECK(program.wait() == 0);
    CHECK(program.error_text().empty());
}

TEST_CASE("SIGUSR1 writes the tasks of all threads to standard error", "[threads][signal]") {
    test::child_process program([] {
        run_options options;
        options.threads = 2;
        return run_main(options, []() -> task<> {
            test::say("here");
            co_await sleep_for(1h);
        });
    });
    program.read_line();
    program.read_line();
    program.signal(SIGUSR1);
    // Signals of different numbers are delivered lowest first: the dump must be out before.
    REQUIRE(program.wait_for_error("time to pass"));
    program.signal(SIGINT);
    CHECK(program.wait() == 0);
}
