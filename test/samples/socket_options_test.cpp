// The sample that measures socket options, as a user runs it.
#include <support/program.hpp>
#include <support/sample.hpp>

#include <catch2/catch_test_macros.hpp>

#include <map>
#include <sstream>
#include <string>
#include <vector>

using rondo::test::outcome;
using rondo::test::run_program;
using rondo::test::sample;

namespace {

/// The numbers of each row, by what stands before them.
std::map<std::string, std::vector<double>> rows_of(const std::string& out,
                                                   const std::vector<std::string>& names) {
    std::map<std::string, std::vector<double>> rows;
    std::istringstream lines(out);
    for (std::string line; std::getline(lines, line);) {
        for (const std::string& name : names) {
            if (!line.starts_with(name + ' ')) continue;
            std::istringstream numbers(line.substr(16));
            for (double number = 0; numbers >> number;) rows[name].push_back(number);
        }
    }
    return rows;
}

}  // namespace

TEST_CASE("socket_options measures every buffer size and every option", "[samples]") {
    const outcome measured = run_program({sample("socket_options"), "--quick"});
    CHECK(measured.err.empty());
    CHECK(measured.exit_code == 0);
    const std::vector<std::string> sizes = {"4 KiB", "16 KiB", "64 KiB", "256 KiB", "kernel's"};
    auto rows = rows_of(measured.out, sizes);
    for (const std::string& size : sizes) {
        INFO(size);
        // What follows the table begins with one of these words as well, and has no number there.
        REQUIRE(rows[size].size() == 4);
        for (const double figure : rows[size]) CHECK(figure > 0);
    }
    // What the sentences say of small ones: throughput, and latency.
    for (const std::size_t direction : {0u, 2u}) {
        CHECK(rows["4 KiB"][direction] < rows["kernel's"][direction]);
        CHECK(rows["4 KiB"][direction + 1] > rows["kernel's"][direction + 1]);
    }
    const std::vector<std::string> options = {"two sends", "  no_delay", "  quick_ack", "  cork",
                                              "one gather send"};
    rows = rows_of(measured.out, options);
    for (const std::string& option : options) {
        INFO(option);
        REQUIRE(rows[option].size() == 2);
        CHECK(rows[option][0] > 0);
        CHECK(rows[option][1] > 0);
        // Each of the others is there to avoid what befalls this one.
        if (option != "two sends") CHECK(rows[option][1] < rows["two sends"][1] / 4);
    }
    // Its sentence.
    for (const std::string& option : options) {
        INFO(option);
        const std::size_t row = measured.out.find('\n' + option + ' ');
        REQUIRE(row != std::string::npos);
        CHECK(measured.out.find('\n' + option + ' ', row + 1) != std::string::npos);
    }
}

TEST_CASE("socket_options tells what it takes", "[samples]") {
    const outcome helped = run_program({sample("socket_options"), "--help"});
    CHECK(helped.exit_code == 0);
    CHECK(helped.out.find("--quick") != std::string::npos);
    CHECK(run_program({sample("socket_options"), "--slow"}).exit_code != 0);
}
