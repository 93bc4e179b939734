#include <rondo/log.hpp>

#include <unistd.h>

#include <cerrno>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace rondo::inline v0 {
namespace {

struct hook {
    std::mutex mutex;
    std::shared_ptr<const log_function> function;  // null: the default
};

// Never destroyed: warnings may come from other threads while the process ends.
hook& the_hook() {
    static hook* const instance = new hook;
    return *instance;
}

// One write(2), so that lines of several threads and processes do not mix.
void write_line(std::string_view message) {
    std::string line("rondo: ");
    line.append(message).push_back('\n');
    const int saved = errno;
    while (::write(STDERR_FILENO, line.data(), line.size()) < 0 && errno == EINTR) {
    }
    errno = saved;
}

}  // namespace

log_function set_log(log_function function) {
    std::shared_ptr<const log_function> next;
    if (function) next = std::make_shared<const log_function>(std::move(function));
    hook& current = the_hook();
    {
        const std::lock_guard lock(current.mutex);
        current.function.swap(next);
    }
    return next ? *next : log_function();
}

void log(std::string_view message) noexcept {
    try {
        std::shared_ptr<const log_function> function;
        {
            hook& current = the_hook();
            const std::lock_guard lock(current.mutex);
            function = current.function;
        }
        // Called without the lock: a hook may set another or log itself.
        if (function)
            (*function)(message);
        else
            write_line(message);
    } catch (...) {
        // A warning that cannot be given must not become the failure.
    }
}

}  // namespace rondo::inline v0
