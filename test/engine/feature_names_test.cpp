#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>

#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <rondo/engine/choose.hpp>
#include <rondo/engine/feature_names.hpp>

#include <support/child_process.hpp>
#include <support/needs_ring.hpp>

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::Equals;
using Catch::Matchers::StartsWith;
using rondo::feature;
using rondo::feature_set;
using rondo::parse_features;

namespace {

constexpr feature every[] = {
    feature::multishot_accept,  feature::multishot_recv,  feature::buffer_ring,
    feature::receive_limit,     feature::send_zero_copy,  feature::multishot_poll,
    feature::skip_success,      feature::registered_ring, feature::single_issuer,
    feature::deferred_taskrun,  feature::cooperative_taskrun,
    feature::submit_all,        feature::no_iowait,       feature::unix_end,
};

/// As the environment has them: without spaces, in the order of the enumerators.
std::string text_of(feature_set set) {
    std::string text;
    for (const feature each : every) {
        if (!set.has(each)) continue;
        if (!text.empty()) text += ',';
        text += to_string(each);
    }
    return text;
}

std::string refusal_of(std::string_view text) {
    try {
        parse_features(text, "RONDO_WITHOUT");
    } catch (const std::invalid_argument& error) {
        return error.what();
    }
    return {};
}

/// io_uring_register(2) knows no `operation` in this process and what it executes.
void forget_registration(unsigned operation) {
    sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_register, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, operation, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog filter{static_cast<unsigned short>(std::size(program)), program};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
        _exit(2);
}

constexpr const char* report_features = "child: reports the features of both engines";

/// What `report_features` says after `prepare`, in a process of its own: what was found out about
/// the kernel, and what the environment said, last as long as a process.
template <class Prepare>
std::string reported(Prepare prepare) {
    const rondo::test::child_result ended = rondo::test::in_child([&] {
        unsetenv("RONDO_WITHOUT");
        prepare();
        execl("/proc/self/exe", "rondo_tests", report_features, static_cast<char*>(nullptr));
        return 3;
    });
    CHECK(ended.code == 0);
    return ended.error_text;
}

void report(rondo::engine_kind kind) {
    try {
        const auto made = rondo::make_engine(kind);
        std::fprintf(stderr, "%s has %s\n", std::string(made->name()).c_str(),
                     text_of(made->features()).c_str());
    } catch (const std::exception& error) {
        std::fprintf(stderr, "thrown: %s\n", error.what());
    }
}

}  // namespace

TEST_CASE("a feature's name is parsed to that feature", "[engine][feature]") {
    for (const feature each : every) {
        INFO(to_string(each));
        CHECK(parse_features(to_string(each), "") == feature_set(each));
    }
    CHECK(parse_features("all", "") == feature_set::all());
    CHECK(text_of(feature_set::all()).find("unknown") == std::string::npos);
    CHECK(parse_features("", "").empty());
    CHECK(parse_features("buffer_ring,no_iowait", "") ==
          (feature::buffer_ring | feature::no_iowait));
    CHECK(parse_features("no_iowait,all", "") == feature_set::all());
}

TEST_CASE("a name that is no feature's is refused by a sentence that lists them",
          "[engine][feature]") {
    for (const std::string_view text : {"multishot", "buffer_ring,", ",", "buffer_ring, all",
                                        "ALL", "all,multishot"}) {
        INFO(text);
        CHECK_THAT(refusal_of(text), StartsWith("RONDO_WITHOUT names \"") &&
                                         ContainsSubstring("\", it may be all, or some of ") &&
                                         ContainsSubstring(text_of(feature_set::all())));
    }
    CHECK_THAT(refusal_of("all,multishot"), ContainsSubstring("\"multishot\""));
}

TEST_CASE("a refused feature's name is told in one short line", "[engine][feature]") {
    const std::string refusal = refusal_of("mul\nti\x1b" + std::string(5000, 'x'));
    CHECK_THAT(refusal, StartsWith("RONDO_WITHOUT names \"mul\\nti\\x1bxxx"));
    CHECK(refusal.size() < 500);
}

TEST_CASE("what stands on a feature goes with it", "[engine][feature]") {
    const feature_set all = feature_set::all();
    CHECK((all - feature_set()) == all);
    CHECK((all - all).empty());
    const feature_set copying = all - feature::buffer_ring;
    CHECK_FALSE(copying.has(feature::multishot_recv));
    CHECK_FALSE(copying.has(feature::receive_limit));
    CHECK(copying.has(feature::multishot_accept));
    CHECK_FALSE((all - feature::multishot_recv).has(feature::receive_limit));
    CHECK((all - feature::multishot_recv).has(feature::buffer_ring));
    CHECK_FALSE((all - feature::receive_limit).has(feature::unix_end));
    CHECK((all - feature::buffer_ring).has(feature::unix_end));
    CHECK_FALSE((all - feature::single_issuer).has(feature::deferred_taskrun));
}

// Run by reported() alone.
TEST_CASE("child: reports the features of both engines", "[.child]") {
    report(rondo::engine_kind::uring);
    report(rondo::engine_kind::epoll);
    _exit(0);
}

TEST_CASE("RONDO_WITHOUT takes features from both engines", "[engine][feature]") {
    rondo::test::need_ring();
    CHECK_THAT(reported([] { setenv("RONDO_WITHOUT", "all", 1); }),
               Equals("uring has \nepoll has \n"));
    const std::string some =
        reported([] { setenv("RONDO_WITHOUT", "multishot_recv,registered_ring", 1); });
    CHECK_THAT(some, !ContainsSubstring("multishot_recv") && !ContainsSubstring("receive_limit") &&
                         !ContainsSubstring("registered_ring"));
    CHECK_THAT(some, ContainsSubstring("uring has multishot_accept,buffer_ring,") &&
                         ContainsSubstring("epoll has multishot_accept,buffer_ring,"));
}

TEST_CASE("a RONDO_WITHOUT that names no feature is an error of either engine",
          "[engine][feature]") {
    CHECK_THAT(reported([] { setenv("RONDO_WITHOUT", "speed", 1); }),
               ContainsSubstring("thrown: RONDO_WITHOUT names \"speed\", it may be ") &&
                   !ContainsSubstring(" has "));
}

TEST_CASE("a kernel without buffer rings or a registered ring is used without them",
          "[engine][feature]") {
    rondo::test::need_ring();
    const std::string copying = reported([] { forget_registration(IORING_REGISTER_PBUF_RING); });
    CHECK_THAT(copying, StartsWith("uring has multishot_accept,send_zero_copy,"));
    CHECK_THAT(copying, ContainsSubstring("registered_ring"));
    CHECK_THAT(copying, ContainsSubstring("epoll has multishot_accept,multishot_recv,"));
    const std::string unregistered =
        reported([] { forget_registration(IORING_REGISTER_RING_FDS); });
    CHECK_THAT(unregistered, StartsWith("uring has multishot_accept,multishot_recv,"));
    CHECK_THAT(unregistered, !ContainsSubstring("registered_ring"));
}
