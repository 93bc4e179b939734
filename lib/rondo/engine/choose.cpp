#include <rondo/engine/choose.hpp>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <rondo/detail/quoted.hpp>
#include <rondo/engine/epoll_engine.hpp>
#include <rondo/engine/feature_names.hpp>
#include <rondo/engine/uring_engine.hpp>
#include <rondo/log.hpp>

namespace rondo::inline v0 {
namespace {

engine_kind kind_from_environment() {
    const char* const value = std::getenv("RONDO_ENGINE");
    const std::string_view text = value ? value : "auto";
    if (text == "auto" || text.empty()) return engine_kind::automatic;
    if (text == "uring") return engine_kind::uring;
    if (text == "epoll") return engine_kind::epoll;
    throw std::invalid_argument("RONDO_ENGINE is " + detail::quoted(text) +
                                ", it may be auto, uring or epoll");
}

/// `options` without what RONDO_WITHOUT names, too.
engine_options reduced(const engine_options& options) {
    static const feature_set named = [] {
        const char* const value = std::getenv("RONDO_WITHOUT");
        return parse_features(value ? value : "", "RONDO_WITHOUT");
    }();
    engine_options made = options;
    made.without = made.without | named;
    return made;
}

bool means_unavailable(const std::system_error& error) {
    const int code = error.code().value();
    return code == EPERM || code == EACCES || code == ENOSYS;
}

/// What the process decided; made by the first caller who gets that far, since a failure for want
/// of something leaves the decision to the next. `first` receives the ring it was tried with.
engine_kind decide(const engine_options& options, std::unique_ptr<engine>& first,
                   std::string& warning) {
    static std::atomic<engine_kind> decided{engine_kind::automatic};  // automatic: not yet
    static std::mutex deciding;

    engine_kind kind = decided.load(std::memory_order_acquire);
    if (kind != engine_kind::automatic) return kind;
    const std::lock_guard lock(deciding);
    kind = decided.load(std::memory_order_relaxed);
    if (kind != engine_kind::automatic) return kind;
    kind = kind_from_environment();
    if (kind == engine_kind::automatic) {
        try {
            first = std::make_unique<uring_engine>(options);
            kind = engine_kind::uring;
        } catch (const std::system_error& error) {
            if (!means_unavailable(error)) throw;
            warning = std::string("using epoll instead of io_uring: ") + error.what();
            kind = engine_kind::epoll;
        }
    }
    decided.store(kind, std::memory_order_release);
    return kind;
}

std::unique_ptr<engine> make_automatic(const engine_options& options) {
    std::unique_ptr<engine> first;
    std::string warning;
    const engine_kind kind = decide(options, first, warning);
    if (!warning.empty()) log(warning);
    return first ? std::move(first) : make_engine(kind, options);
}

}  // namespace

std::unique_ptr<engine> make_engine(engine_kind kind, const engine_options& options) {
    switch (kind) {
        case engine_kind::uring: return std::make_unique<uring_engine>(reduced(options));
        case engine_kind::epoll: return std::make_unique<epoll_engine>(reduced(options));
        case engine_kind::automatic: break;
    }
    return make_automatic(reduced(options));
}

}  // namespace rondo::inline v0
