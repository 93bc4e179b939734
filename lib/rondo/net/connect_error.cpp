#include <rondo/net/connect_error.hpp>

#include <cerrno>
#include <utility>

namespace rondo::inline v0 {

namespace {

using attempt = connect_error::attempt;

// How little an attempt's error tells of the service that was asked for.
int vagueness(const attempt& failed) noexcept {
    switch (failed.error.value()) {
        case ENETUNREACH:
        case EADDRNOTAVAIL:
        case EAFNOSUPPORT: return 4;  // this host has no such addresses itself, most often
        case EHOSTUNREACH: return 3;
        case ETIMEDOUT: return 2;
        case ECONNREFUSED:
        case ECONNRESET: return 1;
        default: return 0;  // forbidden here, or out of descriptors: to be put right first
    }
}

const attempt& most_telling(const std::vector<attempt>& attempts) noexcept {
    const attempt* best = &attempts.front();
    for (const attempt& each : attempts) {
        if (vagueness(each) <= vagueness(*best)) best = &each;
    }
    return *best;
}

std::string text_of(const char* first, const std::vector<attempt>& attempts,
                    const attempt& telling) {
    std::string text = first;
    const char* between = "; also tried ";
    for (const attempt& each : attempts) {
        if (&each == &telling) continue;
        text += std::exchange(between, ", ") + each.remote.to_string();
        if (each.error != telling.error) text += " (" + each.error.message() + ')';
    }
    return text;
}

}  // namespace

connect_error::connect_error(const std::vector<attempt>& attempts)
    : connect_error(attempts, most_telling(attempts)) {}

connect_error::connect_error(const std::vector<attempt>& attempts, const attempt& telling)
    : socket_error(telling.verb, telling.error.value(), &telling.remote),
      all_(std::make_shared<const shared>(
          shared{attempts, text_of(socket_error::what(), attempts, telling)})) {}

connect_error::~connect_error() = default;

}  // namespace rondo::inline v0
