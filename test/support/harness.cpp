#include <support/harness.hpp>

#include <rondo/testing/faulty_engine.hpp>

#include <catch2/catch_test_case_info.hpp>
#include <catch2/interfaces/catch_interfaces_capture.hpp>
#include <catch2/reporters/catch_reporter_event_listener.hpp>
#include <catch2/reporters/catch_reporter_registrars.hpp>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <mutex>
#include <optional>

namespace rondo::test {

namespace {

std::optional<unsigned long> from_environment(const char* name) {
    const char* text = std::getenv(name);
    if (text == nullptr || *text == '\0') return std::nullopt;
    return std::stoul(text);
}

std::atomic<unsigned> runs_of_this_test = 0;  // threads of one run() are runs, too
std::mutex naming;
std::string last_faults;

// Tells how to repeat a failure, and counts runs from the start of each test.
class replay_listener final : public Catch::EventListenerBase {
public:
    using Catch::EventListenerBase::EventListenerBase;

    void testCaseStarting(const Catch::TestCaseInfo&) override { runs_of_this_test = 0; }
    void testCaseEnded(const Catch::TestCaseStats& stats) override {
        const auto seed = from_environment("RONDO_TEST_SEED");
        if (!seed || stats.totals.assertions.allOk()) return;
        std::cout << "replay: RONDO_TEST_SEED=" << *seed << " and the engine below with the test's"
                  << " name as argument; last run: " << last_faults << std::endl;
    }
};
CATCH_REGISTER_LISTENER(replay_listener)

std::unique_ptr<engine> make_faulty(unsigned long base, const engine_options& queues) {
    const std::string name = Catch::getResultCapture().getCurrentTestName();
    const std::uint64_t seed =
        base * 0x9E3779B97F4A7C15u + std::hash<std::string>{}(name) + runs_of_this_test++;
    auto inner = make_engine(engine_kind::automatic, queues);
    auto made = std::make_unique<testing::faulty_engine>(
        std::move(inner), testing::fault_plan::from_seed(seed),
        testing::fault_plan::queues_from_seed(seed));
    const std::lock_guard lock(naming);
    last_faults = made->describe();
    return made;
}

}  // namespace

bool faulty() { return from_environment("RONDO_TEST_SEED").has_value(); }

run_options options() {
    run_options made;
    if (const auto n = from_environment("RONDO_TEST_ENTRIES")) {
        made.queues.entries = static_cast<unsigned>(*n);
    }
    if (const auto n = from_environment("RONDO_TEST_COMPLETIONS")) {
        made.queues.completions = static_cast<unsigned>(*n);
    }
    if (const auto seed = from_environment("RONDO_TEST_SEED")) {
        made.make_engine = [base = *seed](const engine_options& queues) {
            return make_faulty(base, queues);
        };
    }
    return made;
}

}  // namespace rondo::test
