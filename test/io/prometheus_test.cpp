#include <rondo/io/prometheus.hpp>
#include <rondo/task/sleep.hpp>

#include <support/harness.hpp>

#include <catch2/catch_test_macros.hpp>

#include <array>
#include <sstream>
#include <string>

TEST_CASE("prometheus_text gives each counter its help, its type and a line for each thread",
          "[prometheus]") {
    rondo::scheduler_stats first;
    first.turns = 17;
    first.timers = 3;
    rondo::scheduler_stats second;
    second.turns = 4000000000000;
    const std::array both = {first, second};
    const std::string text = rondo::prometheus_text(both);
    CHECK(text.find("# HELP rondo_turns_total Turns of the loop.\n"
                    "# TYPE rondo_turns_total counter\n"
                    "rondo_turns_total{thread=\"0\"} 17\n"
                    "rondo_turns_total{thread=\"1\"} 4000000000000\n") != std::string::npos);
    CHECK(text.find("# TYPE rondo_timers gauge\nrondo_timers{thread=\"0\"} 3\n") !=
          std::string::npos);
}

TEST_CASE("prometheus_text of a running scheduler says what it has done", "[prometheus]") {
    const std::string text = rondo::test::run([]() -> rondo::task<std::string> {
        rondo::scheduler& here = co_await rondo::this_scheduler();
        co_await rondo::yield();
        const auto stats = here.stats();
        co_return rondo::prometheus_text({&stats, 1});
    });
    std::istringstream lines(text);
    std::string line;
    std::size_t values = 0;
    while (std::getline(lines, line)) {
        if (line.starts_with('#')) continue;
        ++values;
        CHECK(line.starts_with("rondo_"));
        CHECK(line.find("{thread=\"0\"} ") != std::string::npos);
    }
    CHECK(values == 10);
    CHECK(text.find("rondo_live_tasks{thread=\"0\"} 0") == std::string::npos);
}

TEST_CASE("append_prometheus writes a counter of one's own", "[prometheus]") {
    std::string text;
    rondo::append_prometheus(text, "chat_lines_total", "counter", "Lines delivered.", "", 5);
    rondo::append_prometheus(text, "chat_rooms", "gauge", "Rooms.", "kind=\"open\"", 2.5);
    CHECK(text ==
          "# HELP chat_lines_total Lines delivered.\n# TYPE chat_lines_total counter\n"
          "chat_lines_total 5\n"
          "# HELP chat_rooms Rooms.\n# TYPE chat_rooms gauge\nchat_rooms{kind=\"open\"} 2.5\n");
}
