// Cancelling a part of a program: scopes, and shields against them.
#pragma once

#include <rondo/detail/intrusive_list.hpp>
#include <rondo/task/awaitable.hpp>
#include <rondo/task/event_loop.hpp>
#include <rondo/task/operation_canceled.hpp>

#include <exception>
#include <memory>
#include <stop_token>
#include <utility>
#include <vector>

namespace rondo::inline v0 {

/// A handle on work that can be cancelled from outside of it:
///
///     cancel_scope scope;                       // known to whoever may cancel
///     co_await scope.run(serve_client(socket));  // throws operation_canceled if cancelled
///
/// cancel() reaches every operation awaited inside run(), nested work included, except under
/// shield(). It stays: what is run later in the same scope is cancelled from the start. The scope
/// must outlive its run() calls, which may overlap; it belongs to one thread.
class cancel_scope {
public:
    cancel_scope() noexcept = default;
    cancel_scope(const cancel_scope&) = delete;
    cancel_scope& operator=(const cancel_scope&) = delete;

    void cancel() noexcept {
        cancelled_ = true;
        for (member& m : members_) m.context_.cancel();
    }
    bool cancelled() const noexcept { return cancelled_; }

    /// Completes when `operation` does, with its value or exception, cancelled or not: a value
    /// that came in spite of the cancellation is delivered. `operation` is anything awaitable.
    template <awaitable A>
    task<await_result_t<A>> run(A&& operation) {
        context& here = co_await this_context();
        member inside(*this, here);
        auto&& inner = detail::as_task(std::forward<A>(operation));
        std::exception_ptr failure = co_await inner.settle(inside.context_);
        if (failure) std::rethrow_exception(std::move(failure));
        co_return inner.take();
    }

    /// Cancels the scope when `token` is asked to stop, from whatever thread; at once if it was
    /// already. Lasts until the scope dies; several tokens may be bound. `loop` is the awaiting
    /// task's, known to `(co_await this_context()).loop()`, and must outlive the stop source's
    /// last request.
    void bind(std::stop_token token, event_loop& loop);

private:
    class member : public detail::intrusive_hook {
    public:
        member(cancel_scope& scope, context& parent) noexcept : context_(parent) {
            scope.members_.push_back(*this);
            context_.set_name("cancel scope");
            if (scope.cancelled_) context_.cancel();
        }
        context context_;
    };
    struct binding;
    struct unbind {
        void operator()(binding* b) const noexcept;
    };

    bool cancelled_ = false;
    detail::intrusive_list<member> members_;
    std::vector<std::unique_ptr<binding, unbind>> bindings_;
};

/// Protects a clean-up: inside, cancellations from around are not seen, those of scopes opened
/// inside are. Completes when `operation` does, with its value or exception.
template <awaitable A>
task<await_result_t<A>> shield(A&& operation) {
    context& here = co_await this_context();
    context inside(here, context::shielding::on);
    inside.set_name("shield");
    auto&& inner = detail::as_task(std::forward<A>(operation));
    std::exception_ptr failure = co_await inner.settle(inside);
    if (failure) std::rethrow_exception(std::move(failure));
    co_return inner.take();
}

}  // namespace rondo::inline v0
