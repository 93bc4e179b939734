// Which sanitizers watch the tests and the programs they run.
#pragma once

namespace rondo::test {

/// With AddressSanitizer comes UndefinedBehaviorSanitizer.
constexpr bool address_sanitized() {
#if defined(__SANITIZE_ADDRESS__)
    return true;
#elif defined(__has_feature)
    return __has_feature(address_sanitizer);
#else
    return false;
#endif
}

/// It sees a race in whichever order things happen, so that a few rounds do where many are slow.
constexpr bool thread_sanitized() {
#if defined(__SANITIZE_THREAD__)
    return true;
#elif defined(__has_feature)
    return __has_feature(thread_sanitizer);
#else
    return false;
#endif
}

}  // namespace rondo::test
