// What a user sees of the choice between the engines: a server in a container, talked to.
#include <support/child_process.hpp>
#include <support/needs_ring.hpp>
#include <support/plain_client.hpp>
#include <support/sample.hpp>
#include <support/sanitizer.hpp>
#include <support/seccomp.hpp>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <functional>
#include <string>

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::Equals;
using Catch::Matchers::StartsWith;
using rondo::test::child_process;
using rondo::test::plain_client;
using rondo::test::refuse;

namespace {

/// echo_server with RONDO_ENGINE as given (null: unset), after `prepare`; it serves on two threads,
/// which choose at the same time.
child_process server(const char* engine, const std::function<void()>& prepare) {
    return child_process([engine, prepare] {
        if (engine)
            setenv("RONDO_ENGINE", engine, 1);
        else
            unsetenv("RONDO_ENGINE");
        prepare();
        const std::string path = rondo::test::sample("echo_server");
        execl(path.c_str(), "echo_server", "--threads", "2", "127.0.0.1:0",
              static_cast<char*>(nullptr));
        return 3;
    });
}

/// What it wrote to standard error after it has echoed and was stopped.
std::string said_by_echoing(const char* engine, const std::function<void()>& prepare) {
    child_process running = server(engine, prepare);
    const std::string line = running.read_line();
    const std::string start = "listening on ";
    if (!line.starts_with(start)) {
        running.wait();
        FAIL("said '" << line << "' and " << running.error_text());
    }
    plain_client client(line.substr(start.size()));
    client.send("hello");
    client.finish();
    CHECK(client.receive_all() == "hello");
    running.signal(SIGTERM);
    CHECK(running.wait() == 0);
    return running.error_text();
}

}  // namespace

TEST_CASE("a server whose filter forbids or hides the ring serves by epoll and says so once",
          "[samples][choose]") {
    rondo::test::need_ring();  // another cause would be named first
    for (const unsigned error : {unsigned{EPERM}, unsigned{ENOSYS}}) {
        INFO(error);
        const std::string said =
            said_by_echoing(nullptr, [error] { refuse(SYS_io_uring_setup, error); });
        CHECK_THAT(said, StartsWith("rondo: using epoll instead of io_uring: io_uring_setup: "));
        CHECK_THAT(said, ContainsSubstring("(a seccomp filter"));
        CHECK_THAT(said, ContainsSubstring("RONDO_ENGINE=epoll"));
        CHECK(said.find('\n') == said.size() - 1);
    }
}

TEST_CASE("with RONDO_ENGINE=epoll a server never asks for a ring, and says nothing",
          "[samples][choose]") {
    // A filter that ends who asks leaves no other way.
    const std::string said = said_by_echoing("epoll", [] {
        refuse(SYS_io_uring_setup, 0);
        refuse(SYS_io_uring_register, 0);
        refuse(SYS_io_uring_enter, 0);
    });
    CHECK_THAT(said, Equals(""));
}

TEST_CASE("a server that is told to use the ring ends with one line where it is forbidden",
          "[samples][choose]") {
    rondo::test::need_ring();
    child_process running = server("uring", [] { refuse(SYS_io_uring_setup, EPERM); });
    CHECK(running.wait() == 1);
    CHECK_THAT(running.error_text(),
               StartsWith("echo_server: io_uring_setup: Operation not permitted (a seccomp filter "
                          "forbids it"));
    CHECK(running.error_text().find('\n') == running.error_text().size() - 1);
}

TEST_CASE("a server without descriptors for its ring ends with one line, and not by epoll",
          "[samples][choose]") {
    // UBSan comes with it, whose run-time library opens a pipe to look at an object's type.
    if (rondo::test::address_sanitized()) SKIP("the sanitizer needs descriptors of its own");
    rondo::test::need_ring();
    child_process running = server(nullptr, [] {
        // The standard streams, the libraries while they are loaded, and no more.
        const rlimit few{4, 4};
        if (setrlimit(RLIMIT_NOFILE, &few) != 0) _exit(2);
        closefrom(3);
    });
    CHECK(running.wait() == 1);
    CHECK_THAT(running.error_text(), StartsWith("echo_server: "));
    CHECK_THAT(running.error_text(), ContainsSubstring("RLIMIT_NOFILE is 4"));
    CHECK_THAT(running.error_text(), !ContainsSubstring("epoll"));
}

TEST_CASE("a wrong value of RONDO_ENGINE ends a server with a sentence", "[samples][choose]") {
    child_process running = server("iocp", [] {});
    CHECK(running.wait() == 1);
    CHECK_THAT(running.error_text(),
               Equals("echo_server: RONDO_ENGINE is \"iocp\", it may be auto, uring or epoll\n"));
}
