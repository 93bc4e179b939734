// What a misuse of the library does to a program: one sentence, and the end.
#pragma once

#include <support/child_process.hpp>
#include <support/harness.hpp>

#include <rondo/task/task.hpp>

#include <catch2/catch_test_macros.hpp>

#include <signal.h>

#include <string>

namespace rondo::test {

/// Runs `program` in a child, which must say a sentence that begins so, and abort.
inline void check_misuse(const char* sentence, task<> (*program)()) {
    const child_result outcome = in_child([program] {
        test::run(program);
        return 0;
    });
    INFO(outcome.error_text);
    CHECK(outcome.code == -SIGABRT);
    CHECK(outcome.error_text.find("rondo: misuse: " + std::string(sentence)) != std::string::npos);
}

}  // namespace rondo::test
