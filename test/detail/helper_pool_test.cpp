#include <rondo/detail/helper_pool.hpp>
#include <support/child_process.hpp>

#include <catch2/catch_test_macros.hpp>

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <barrier>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <latch>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

using namespace rondo;
using namespace std::chrono_literals;
using detail::helper_job;
using detail::helper_pool;
using detail::helper_pool_options;

namespace {

class function_job final : public helper_job {
public:
    explicit function_job(std::function<void()> function) : function_(std::move(function)) {}
    void run() noexcept override { function_(); }

private:
    std::function<void()> function_;
};

// A job that lives on the heap and holds a helper until it is let go.
class hanging_job final : public helper_job {
public:
    hanging_job(pid_t& thread, std::shared_ptr<std::latch> began,
                std::shared_ptr<std::latch> release, std::shared_ptr<std::latch> ended)
        : thread_(&thread),
          began_(std::move(began)),
          release_(std::move(release)),
          ended_(std::move(ended)) {}
    void run() noexcept override {
        *thread_ = ::gettid();
        began_->count_down();
        release_->wait();
        const auto ended = ended_;
        delete this;
        ended->count_down();
    }

private:
    pid_t* thread_;  // set before began_
    std::shared_ptr<std::latch> began_;
    std::shared_ptr<std::latch> release_;
    std::shared_ptr<std::latch> ended_;
};

bool comes_true(const std::function<bool()>& condition) {
    const auto give_up = std::chrono::steady_clock::now() + 30s;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > give_up) return false;
        std::this_thread::yield();
    }
    return true;
}

/// By its number, for threads of other tests may just be ending. The kernel wakes who joins a
/// thread before it takes the thread out of /proc.
bool comes_to_end(pid_t thread) {
    const std::string entry = "/proc/self/task/" + std::to_string(thread);
    return comes_true([&] { return ::access(entry.c_str(), F_OK) != 0; });
}

TEST_CASE("A job runs on another thread", "[helper_pool]") {
    std::thread::id where;
    std::latch ran(1);
    function_job job([&] {
        where = std::this_thread::get_id();
        ran.count_down();
    });
    helper_pool pool;
    pool.submit(job);
    ran.wait();
    CHECK(where != std::this_thread::get_id());
}

TEST_CASE("As many jobs run at once as the pool may have threads, and no more", "[helper_pool]") {
    std::barrier all_there(3);  // passed only if three jobs run at the same time
    std::latch release(1);
    std::atomic<int> begun = 0;
    std::list<function_job> jobs;
    for (int i = 0; i != 3; ++i) {
        jobs.emplace_back([&] {
            ++begun;
            all_there.arrive_and_wait();
            release.wait();
        });
    }
    function_job fourth([&] { ++begun; });
    {
        helper_pool pool({.threads = 3});
        for (function_job& each : jobs) pool.submit(each);
        CHECK(comes_true([&] { return begun == 3; }));
        pool.submit(fourth);
        CHECK(pool.withdraw(fourth));
        pool.submit(fourth);
        CHECK(begun == 3);
        release.count_down();
        CHECK(comes_true([&] { return begun == 4; }));
    }
    CHECK(begun == 4);
}

TEST_CASE("Jobs begin in the order they were submitted", "[helper_pool]") {
    std::vector<int> order;  // one thread only
    std::latch all_ran(100);
    std::list<function_job> jobs;
    helper_pool pool({.threads = 1});
    for (int i = 0; i != 100; ++i) {
        jobs.emplace_back([&order, &all_ran, i] {
            order.push_back(i);
            all_ran.count_down();
        });
        pool.submit(jobs.back());
    }
    all_ran.wait();
    CHECK(std::ranges::is_sorted(order));
}

TEST_CASE("A job that was withdrawn never runs, and one that has begun cannot be",
          "[helper_pool]") {
    std::latch began(1);
    std::latch release(1);
    std::latch ended(1);
    bool ran = false;
    function_job first([&] {
        began.count_down();
        release.wait();
    });
    function_job second([&] { ran = true; });
    function_job third([&] { ended.count_down(); });
    helper_pool pool({.threads = 1});
    pool.submit(first);
    pool.submit(second);
    pool.submit(third);
    began.wait();
    CHECK(pool.withdraw(second));
    CHECK_FALSE(pool.withdraw(second));
    CHECK_FALSE(pool.withdraw(first));
    release.count_down();
    ended.wait();
    CHECK_FALSE(ran);
}

TEST_CASE("A helper thread takes no signal from outside, and keeps its own faults",
          "[helper_pool]") {
    sigset_t inside;
    std::latch ran(1);
    function_job job([&] {
        ::pthread_sigmask(SIG_BLOCK, nullptr, &inside);
        ran.count_down();
    });
    sigset_t before;
    ::pthread_sigmask(SIG_BLOCK, nullptr, &before);
    helper_pool pool;
    pool.submit(job);
    ran.wait();
    for (const int number : {SIGINT, SIGTERM, SIGUSR1, SIGALRM, SIGCHLD}) {
        CHECK(::sigismember(&inside, number) == 1);
    }
    CHECK(::sigismember(&inside, SIGSEGV) == 0);
    sigset_t after;
    ::pthread_sigmask(SIG_BLOCK, nullptr, &after);
    CHECK(::sigismember(&after, SIGINT) == ::sigismember(&before, SIGINT));
}

TEST_CASE("An idle thread ends, and the next job gets a new one", "[helper_pool]") {
    helper_pool pool({.idle = 1ms});
    for (int round = 0; round != 3; ++round) {
        pid_t thread = 0;
        std::latch ran(1);
        function_job job([&] {
            thread = ::gettid();
            ran.count_down();
        });
        pool.submit(job);
        ran.wait();
        CHECK(comes_to_end(thread));
    }
}

TEST_CASE("The pool's end waits for a job that nobody has abandoned", "[helper_pool]") {
    std::atomic<bool> ended = false;
    std::latch began(1);
    std::latch release(1);
    function_job job([&] {
        began.count_down();
        release.wait();
        ended = true;
    });
    std::jthread later;
    {
        helper_pool pool({.grace = 0ms});
        pool.submit(job);
        began.wait();
        later = std::jthread([&] {
            CHECK_FALSE(ended);
            release.count_down();
        });
    }
    CHECK(ended);
}

TEST_CASE("The pool's end leaves a thread behind that hangs in an abandoned job",
          "[helper_pool]") {
    auto began = std::make_shared<std::latch>(1);
    auto release = std::make_shared<std::latch>(1);
    auto ended = std::make_shared<std::latch>(1);
    pid_t thread = 0;
    {
        helper_pool pool({.grace = 1ms});
        auto* hanging = new hanging_job(thread, began, release, ended);
        pool.submit(*hanging);
        began->wait();
        pool.abandon(*hanging);
    }
    CHECK_FALSE(ended->try_wait());
    release->count_down();
    ended->wait();
    CHECK(comes_to_end(thread));
}

TEST_CASE("An abandoned job that returns within the grace leaves no thread behind",
          "[helper_pool]") {
    auto began = std::make_shared<std::latch>(1);
    auto release = std::make_shared<std::latch>(1);
    auto ended = std::make_shared<std::latch>(1);
    pid_t thread = 0;
    {
        helper_pool pool({.grace = 30s});
        auto* hanging = new hanging_job(thread, began, release, ended);
        pool.submit(*hanging);
        began->wait();
        pool.abandon(*hanging);
        release->count_down();
    }
    CHECK(ended->try_wait());
    CHECK(comes_to_end(thread));
}

TEST_CASE("A process may end while an abandoned job hangs", "[helper_pool]") {
    const auto ended = rondo::test::in_child([] {
        static std::latch began(1);
        static function_job hanging([] {
            began.count_down();
            std::this_thread::sleep_for(1h);
        });
        helper_pool pool({.grace = 0ms});
        pool.submit(hanging);
        began.wait();
        pool.abandon(hanging);
        return 3;
    });
    CHECK(ended.code == 3);
    CHECK(ended.error_text.empty());
}

TEST_CASE("Ending a pool with a job that has not begun is misuse", "[helper_pool]") {
    const auto ended = rondo::test::in_child([] {
        std::latch began(1);
        function_job hanging([&] {
            began.count_down();
            std::this_thread::sleep_for(1h);
        });
        function_job waiting([] {});
        helper_pool pool({.threads = 1});
        pool.submit(hanging);
        pool.submit(waiting);
        began.wait();
        return 0;
    });
    CHECK(ended.code == -SIGABRT);
    CHECK(ended.error_text.find("jobs that have not begun") != std::string::npos);
}

// Threads get stacks that no address space holds.
class no_more_threads {
public:
    no_more_threads() {
        ::pthread_getattr_default_np(&before_);
        pthread_attr_t huge;
        ::pthread_getattr_default_np(&huge);
        ::pthread_attr_setstacksize(&huge, std::size_t{1} << 50);
        ::pthread_setattr_default_np(&huge);
        ::pthread_attr_destroy(&huge);
    }
    no_more_threads(const no_more_threads&) = delete;
    no_more_threads& operator=(const no_more_threads&) = delete;
    ~no_more_threads() {
        ::pthread_setattr_default_np(&before_);
        ::pthread_attr_destroy(&before_);
    }

private:
    pthread_attr_t before_;
};

TEST_CASE("Where no thread can be started submit throws, and the job is not queued",
          "[helper_pool]") {
    bool ran = false;
    function_job job([&] { ran = true; });
    helper_pool pool;
    {
        const no_more_threads limit;
        CHECK_THROWS_AS(pool.submit(job), std::system_error);
    }
    CHECK_FALSE(pool.withdraw(job));
    CHECK_FALSE(ran);
}

TEST_CASE("Where no more threads can be started a job waits for one that runs", "[helper_pool]") {
    std::latch began(1);
    std::latch release(1);
    std::latch ran(1);
    function_job first([&] {
        began.count_down();
        release.wait();
    });
    function_job second([&] { ran.count_down(); });
    helper_pool pool;
    pool.submit(first);
    began.wait();
    {
        const no_more_threads limit;
        pool.submit(second);
    }
    release.count_down();
    ran.wait();
    CHECK(ran.try_wait());
}

}  // namespace
