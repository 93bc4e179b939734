#include <rondo/task/cancel_scope.hpp>

#include <atomic>
#include <optional>

namespace rondo::inline v0 {

// The stop request may come on any thread, while the scope lives and dies on the loop's. The
// callback posts this block, which then lives until it has run there, whatever became of the scope.
struct cancel_scope::binding final : posted_work {
    struct on_stop {
        binding* self;
        void operator()() const noexcept {
            self->posted.store(true, std::memory_order_relaxed);
            self->loop->post(*self);
        }
    };

    void run() noexcept override {
        if (scope == nullptr) {
            delete this;
            return;
        }
        ran = true;
        scope->cancel();
    }

    cancel_scope* scope = nullptr;  // null once the scope has died before run()
    event_loop* loop = nullptr;
    bool ran = false;
    std::atomic<bool> posted = false;
    std::optional<std::stop_callback<on_stop>> callback;
};

void cancel_scope::unbind::operator()(binding* b) const noexcept {
    b->callback.reset();  // waits for a callback that is just running
    if (b->posted.load(std::memory_order_relaxed) && !b->ran) {
        b->scope = nullptr;
        return;
    }
    delete b;
}

void cancel_scope::bind(std::stop_token token, event_loop& loop) {
    if (token.stop_requested()) {
        cancel();
        return;
    }
    binding& made = *bindings_.emplace_back(new binding);
    made.scope = this;
    made.loop = &loop;
    made.callback.emplace(std::move(token), binding::on_stop{&made});
}

}  // namespace rondo::inline v0
