#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <algorithm>
#include <array>
#include <barrier>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/mount.h>
#include <grp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <rondo/detail/unique_fd.hpp>
#include <rondo/engine/choose.hpp>
#include <rondo/io/run.hpp>
#include <rondo/log.hpp>

#include <support/needs_ring.hpp>
#include <support/ring_sysctl.hpp>
#include <support/seccomp.hpp>

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::Equals;
using Catch::Matchers::StartsWith;
using rondo::engine_kind;
using rondo::test::need_ring;
using rondo::test::refuse;

namespace {

/// `path` reads as `text` in this process and what it executes.
void pretend(const char* path, std::string_view text) {
    char name[] = "/tmp/rondo_choose_XXXXXX";
    const rondo::detail::unique_fd file(mkstemp(name));
    const bool done = file && fchmod(file.get(), 0644) == 0 &&
                      write(file.get(), text.data(), text.size()) ==
                          static_cast<ssize_t>(text.size()) &&
                      unshare(CLONE_NEWNS) == 0 &&
                      mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                      mount(name, path, nullptr, MS_BIND, nullptr) == 0;
    unlink(name);
    if (!done) _exit(2);
}

std::string read_all(int descriptor) {
    std::string text;
    std::array<char, 512> part{};
    for (ssize_t got; (got = read(descriptor, part.data(), part.size())) > 0;)
        text.append(part.data(), static_cast<std::size_t>(got));
    return text;
}

/// What this program writes to standard error when it runs the hidden test `name` anew, with
/// RONDO_ENGINE as given (null: unset), after `prepare`. A process of its own, for the choice and
/// what is known of the ring last as long as a process.
template <class Prepare>
std::string run_anew(const char* name, const char* engine, Prepare prepare) {
    int ends[2];
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    const rondo::detail::unique_fd reader(ends[0]);
    rondo::detail::unique_fd writer(ends[1]);
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        if (engine)
            setenv("RONDO_ENGINE", engine, 1);
        else
            unsetenv("RONDO_ENGINE");
        unsetenv("RONDO_WITHOUT");  // the kernel's own features decide here
        dup2(writer.get(), STDERR_FILENO);
        prepare();
        execl("/proc/self/exe", "choose_test", name, static_cast<char*>(nullptr));
        _exit(3);
    }
    writer.reset();
    std::string text = read_all(reader.get());
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(status == 0);
    return text;
}

constexpr const char* report_automatic = "child: reports the automatic engines";
constexpr const char* report_at_once = "child: reports the automatic engines of many threads";
constexpr const char* report_run = "child: reports how a run ends";
constexpr const char* report_uring = "child: reports the engine asked for by name";

void nothing() {}

/// Becomes an ordinary user whom nobody else is: what rings lock is counted for each user.
void become_ordinary() {
    const auto user = static_cast<uid_t>(1'000'000'000 + getpid());
    if (setgroups(0, nullptr) != 0 || setresgid(user, user, user) != 0 ||
        setresuid(user, user, user) != 0)
        _exit(2);
}

std::string count_of(const std::string& text, const std::string& line) {
    std::size_t count = 0;
    for (std::size_t at = 0; (at = text.find(line, at)) != std::string::npos; at += line.size())
        ++count;
    return std::to_string(count) + " times " + line;
}

void report(engine_kind kind) {
    try {
        const auto made = rondo::make_engine(kind);
        std::fprintf(stderr, "%s\n", std::string(made->name()).c_str());
    } catch (const std::system_error& error) {
        std::fprintf(stderr, "error %d: %s\n", error.code().value(), error.what());
    } catch (const std::invalid_argument& error) {
        std::fprintf(stderr, "invalid: %s\n", error.what());
    }
}

/// Restores the hook that was there.
class captured_log {
public:
    captured_log()
        : previous_(rondo::set_log([this](std::string_view text) {
              const std::lock_guard lock(mutex_);
              lines_.emplace_back(text);
          })) {}
    captured_log(const captured_log&) = delete;
    captured_log& operator=(const captured_log&) = delete;
    ~captured_log() { rondo::set_log(std::move(previous_)); }

    const std::vector<std::string>& lines() const { return lines_; }

private:
    std::mutex mutex_;
    std::vector<std::string> lines_;
    rondo::log_function previous_;
};

}  // namespace

// Run by run_anew() alone.
TEST_CASE("child: reports the automatic engines", "[.child]") {
    report(engine_kind::automatic);
    report(engine_kind::automatic);
    std::thread([] { report(engine_kind::automatic); }).join();
    // Leaves before the test runner reports, and the choice must not follow the environment now.
    setenv("RONDO_ENGINE", "nonsense", 1);
    report(engine_kind::automatic);
    _exit(0);
}

// All begin at the same time; each one's engine outlives the choice of all.
TEST_CASE("child: reports the automatic engines of many threads", "[.child]") {
    constexpr int count = 8;
    std::barrier together(count);
    std::vector<std::thread> threads;
    for (int n = 0; n != count; ++n)
        threads.emplace_back([&] {
            together.arrive_and_wait();
            report(engine_kind::automatic);
        });
    for (std::thread& each : threads) each.join();
    _exit(0);
}

TEST_CASE("child: reports how a run ends", "[.child]") {
    try {
        rondo::run([]() -> rondo::task<> { co_return; }());
        std::fprintf(stderr, "done\n");
    } catch (const std::system_error& error) {
        std::fprintf(stderr, "error %d: %s\n", error.code().value(), error.what());
    }
    _exit(0);
}

TEST_CASE("child: reports the engine asked for by name", "[.child]") {
    report(engine_kind::uring);
    _exit(0);
}

TEST_CASE("an engine asked for by name is that engine", "[engine][choose]") {
    CHECK(rondo::make_engine(engine_kind::epoll)->name() == "epoll");
    need_ring();
    CHECK(rondo::make_engine(engine_kind::uring)->name() == "uring");
}

TEST_CASE("the options reach the engine", "[engine][choose]") {
    const rondo::engine_options small{.entries = 4, .completions = 8};
    CHECK(rondo::make_engine(engine_kind::epoll, small)->entry_capacity() == 4);
    need_ring();
    CHECK(rondo::make_engine(engine_kind::uring, small)->entry_capacity() == 4);
}

TEST_CASE("the automatic engine is the ring, silently, where there is one", "[engine][choose]") {
    need_ring();
    const std::string four = "uring\nuring\nuring\nuring\n";
    CHECK_THAT(run_anew(report_automatic, nullptr, nothing), Equals(four));
    CHECK_THAT(run_anew(report_automatic, "auto", nothing), Equals(four));
    CHECK_THAT(run_anew(report_automatic, "uring", nothing), Equals(four));
}

TEST_CASE("RONDO_ENGINE=epoll makes epoll the automatic engine, silently", "[engine][choose]") {
    CHECK_THAT(run_anew(report_automatic, "epoll", nothing),
               Equals("epoll\nepoll\nepoll\nepoll\n"));
}

TEST_CASE("a RONDO_ENGINE of another value is an error that lists those allowed",
          "[engine][choose]") {
    CHECK_THAT(run_anew(report_automatic, "iocp", nothing),
               StartsWith("invalid: RONDO_ENGINE is \"iocp\", it may be auto, uring or epoll\n"));
}

TEST_CASE("where the ring is forbidden the automatic engine is epoll, and says so once",
          "[engine][choose]") {
    struct filter {
        int number;
        const char* call;
        unsigned error;
    };
    need_ring();  // another filter would answer first
    for (const filter& each : {filter{__NR_io_uring_setup, "io_uring_setup", EPERM},
                               filter{__NR_io_uring_setup, "io_uring_setup", EACCES},
                               filter{__NR_io_uring_setup, "io_uring_setup", ENOSYS},
                               filter{__NR_io_uring_enter, "io_uring_enter", EPERM},
                               filter{__NR_io_uring_register, "io_uring_register", ENOSYS}}) {
        INFO(each.call << " " << each.error);
        const std::string text = run_anew(report_automatic, nullptr,
                                          [&] { refuse(each.number, each.error); });
        CHECK_THAT(text, StartsWith("rondo: using epoll instead of io_uring: " +
                                    std::string(each.call) + ": "));
        CHECK_THAT(text, ContainsSubstring("a seccomp filter"));
        // One line of warning, four of engines.
        CHECK_THAT(text, ContainsSubstring(")\nepoll\nepoll\nepoll\nepoll\n"));
        CHECK(std::count(text.begin(), text.end(), '\n') == 5);
    }
}

TEST_CASE("threads that choose at the same time agree, and one of them says so",
          "[engine][choose]") {
    for (int round = 0; round != 3; ++round) {
        const std::string text = run_anew(report_at_once, nullptr,
                                          [] { refuse(__NR_io_uring_setup, EPERM); });
        CHECK(count_of(text, "rondo: using epoll instead of io_uring") ==
              "1 times rondo: using epoll instead of io_uring");
        // The one who says so may be overtaken by another's line.
        CHECK(count_of("\n" + text, "\nepoll") == "8 times \nepoll");
    }
}

TEST_CASE("where the ring is forbidden asking for it is an error that names the cause",
          "[engine][choose]") {
    need_ring();  // another cause would be named first
    const std::string denied =
        run_anew(report_uring, nullptr, [] { refuse(__NR_io_uring_setup, EPERM); });
    CHECK_THAT(denied, StartsWith("error 1: io_uring_setup: Operation not permitted (a seccomp "
                                  "filter forbids it"));
    CHECK_THAT(denied, ContainsSubstring("RONDO_ENGINE=epoll"));
    const std::string hidden =
        run_anew(report_automatic, "uring", [] { refuse(__NR_io_uring_setup, ENOSYS); });
    CHECK_THAT(hidden, StartsWith("error 38: io_uring_setup: Function not implemented (a seccomp "
                                  "filter hides it"));
    CHECK_THAT(hidden, !ContainsSubstring("\nepoll"));
}

TEST_CASE("the sysctl that forbids the ring is named before any filter", "[engine][choose]") {
    if (geteuid() != 0) SKIP("replaces a file of /proc in a mount namespace, which needs root");
    const auto with_sysctl = [](const char* value) {
        return run_anew(report_uring, nullptr, [value] {
            pretend("/proc/sys/kernel/io_uring_disabled", value);
            refuse(__NR_io_uring_setup, EPERM);
            // kernel.io_uring_disabled=1 lets in who has this.
            if (prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN, 0, 0, 0) != 0) _exit(2);
        });
    };
    CHECK_THAT(with_sysctl("2"), ContainsSubstring("(kernel.io_uring_disabled is 2, nobody may"));
    CHECK_THAT(with_sysctl("1"), ContainsSubstring("(kernel.io_uring_disabled is 1, only members"));
    CHECK_THAT(with_sysctl("0"), ContainsSubstring("(a seccomp filter forbids it"));
}

// Hidden, since it must run alone: what others run as ordinary users would have no ring meanwhile.
TEST_CASE("where kernel.io_uring_disabled is 1 an ordinary user gets epoll, and root the ring",
          "[.ring_sysctl]") {
    if (geteuid() != 0) SKIP("sets kernel.io_uring_disabled, which needs root");
    std::string ordinary;
    std::string root;
    {
        const rondo::test::ring_sysctl restricted;
        if (!restricted.why_not().empty()) SKIP(restricted.why_not());
        ordinary = run_anew(report_automatic, nullptr, become_ordinary);
        root = run_anew(report_automatic, nullptr, nothing);
    }
    CHECK_THAT(ordinary, StartsWith("rondo: using epoll instead of io_uring: io_uring_setup: "
                                    "Operation not permitted (kernel.io_uring_disabled is 1, "
                                    "only members of group "));
    CHECK_THAT(ordinary, ContainsSubstring("\nepoll\nepoll\nepoll\nepoll\n"));
    CHECK_THAT(root, Equals("uring\nuring\nuring\nuring\n"));
}

TEST_CASE("where an ordinary user may lock no memory there is an error, and no epoll",
          "[engine][choose]") {
    if (geteuid() != 0) SKIP("becomes another user, which needs root");
    need_ring();
    const auto with_limit = [](const char* name, rlim_t bytes) {
        return run_anew(name, nullptr, [bytes] {
            const rlimit limit{bytes, bytes};
            if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0) _exit(2);
            become_ordinary();
        });
    };
    const std::string text = with_limit(report_automatic, 0);
    if (text.starts_with("uring\n")) SKIP("this kernel does not count rings as locked memory");
    CHECK_THAT(text, StartsWith("error 12: io_uring_setup: Cannot allocate memory (the ring is "
                                "locked into memory, RLIMIT_MEMLOCK is 0 bytes: raise it by "
                                "ulimit -l"));
    CHECK_THAT(text, !ContainsSubstring("\nepoll"));
    // Room for a small ring, and none for the ring of receive buffers.
    CHECK_THAT(with_limit(report_run, 65536),
               StartsWith("error 12: io_uring_register: Cannot allocate memory (the ring is "
                          "locked into memory, RLIMIT_MEMLOCK is 65536 bytes: "));
}

TEST_CASE("a lack of descriptors or memory is no reason to fall back", "[engine][choose]") {
    need_ring();
    const std::string few = run_anew(report_automatic, nullptr, [] {
        refuse(__NR_io_uring_setup, EMFILE);
    });
    CHECK_THAT(few, StartsWith("error 24: io_uring_setup: "));
    CHECK_THAT(few, ContainsSubstring("ulimit -n") && !ContainsSubstring("\nepoll"));
    const std::string poor = run_anew(report_automatic, nullptr, [] {
        refuse(__NR_io_uring_setup, ENOMEM);
    });
    CHECK_THAT(poor, StartsWith("error 12: io_uring_setup: "));
    CHECK_THAT(poor, ContainsSubstring("memory (") && !ContainsSubstring("\nepoll"));
}

TEST_CASE("warnings go to the hook and the previous hook comes back", "[log]") {
    const captured_log outer;
    {
        const captured_log inner;
        rondo::log("first");
        CHECK(inner.lines() == std::vector<std::string>{"first"});
    }
    rondo::log("second");
    CHECK(outer.lines() == std::vector<std::string>{"second"});
}

TEST_CASE("a hook may throw, log and set another hook", "[log]") {
    const captured_log outer;
    rondo::log_function previous;
    previous = rondo::set_log([&](std::string_view) {
        rondo::set_log(previous);
        rondo::log("from the hook");
        throw std::runtime_error("dropped");
    });
    rondo::log("to the hook");
    CHECK(outer.lines() == std::vector<std::string>{"from the hook"});
}

TEST_CASE("warnings of many threads arrive whole", "[log]") {
    const captured_log hook;
    std::vector<std::thread> threads;
    for (int n = 0; n != 4; ++n)
        threads.emplace_back([] {
            for (int count = 0; count != 100; ++count) rondo::log("warning");
        });
    for (std::thread& each : threads) each.join();
    CHECK(hook.lines() == std::vector<std::string>(400, "warning"));
}
