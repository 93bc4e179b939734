#include <support/needs_ring.hpp>

#include <rondo/engine/uring_engine.hpp>

#include <catch2/catch_test_macros.hpp>

#include <cerrno>
#include <future>
#include <string>
#include <system_error>

namespace rondo::test {

namespace {

/// Why there is none; empty where there is.
std::string why_no_ring() {
    try {
        const uring_engine ring;
    } catch (const std::system_error& error) {
        const int code = error.code().value();
        if (code != EPERM && code != EACCES && code != ENOSYS) throw;
        return error.what();
    }
    return {};
}

}  // namespace

void need_ring() {
    // On a thread of its own: the end of a ring cuts a later wait of its thread short.
    static const std::string why_not = std::async(std::launch::async, why_no_ring).get();
    if (!why_not.empty()) SKIP(why_not);
}

}  // namespace rondo::test
