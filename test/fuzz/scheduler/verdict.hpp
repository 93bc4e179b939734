// The cancellation contract, as it is checked of every await.
#pragma once

#include <fuzz/fuzz.hpp>

#include <rondo/net/socket_error.hpp>
#include <rondo/task/context.hpp>
#include <rondo/task/event_loop.hpp>
#include <rondo/task/operation_canceled.hpp>
#include <rondo/task/with_timeout.hpp>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <exception>
#include <functional>
#include <optional>
#include <system_error>
#include <utility>

namespace rondo::fuzz {

using std::chrono::milliseconds;

/// How an await ended, to be compared with what was so before it and is so now.
class verdict {
public:
    /// `interruptions` counts what else may cancel it, a close() or a release(); `may_fail` tells
    /// of an errno whether it is the peer's doing, or a fault's.
    verdict(const context& where, const unsigned* interruptions,
            std::function<bool(int)> may_fail = {},
            std::optional<milliseconds> limit = std::nullopt)
        : where_(&where), now_interrupted_(interruptions), may_fail_(std::move(may_fail)),
          limit_(limit), began_(where.loop().now()), was_cancelled_(where.cancelled()),
          interruptions_(interruptions == nullptr ? 0 : *interruptions) {}

    void succeeded() const { check(!was_cancelled_, "an await succeeds in a cancelled scope"); }
    void failed(const std::exception_ptr& failure) {
        std::size_t moved = 0;
        bool cancelled = false;
        try {
            std::rethrow_exception(failure);
        } catch (const operation_canceled& error) {
            cancelled = true;
            moved = error.transferred();
        } catch (const operation_timed_out& error) {
            check(limit_ && where_->loop().now() >= began_ + *limit_, "a time-out comes too early");
            moved = error.transferred();
        } catch (const socket_error& error) {
            moved = error.transferred();
            check_expected(error);
        } catch (const std::system_error& error) {
            check_expected(error);
        }
        transferred_ = moved;
        if (was_cancelled_) {
            check(cancelled, "an await in a cancelled scope fails by something else");
            check(moved == 0, "an await in a cancelled scope moves bytes");
        } else if (cancelled) {
            const bool interrupted =
                now_interrupted_ != nullptr && *now_interrupted_ != interruptions_;
            check(where_->cancelled() || interrupted || (may_fail_ && may_fail_(ECANCELED)),
                  "an await is cancelled, and nobody asked");
        }
    }
    std::size_t transferred() const noexcept { return transferred_; }

private:
    void check_expected(const std::system_error& error) const {
        check(may_fail_ && may_fail_(error.code().value()), error.what());
    }

    const context* where_;
    const unsigned* now_interrupted_;
    std::function<bool(int)> may_fail_;
    std::optional<milliseconds> limit_;
    clock::time_point began_;
    bool was_cancelled_;
    unsigned interruptions_;
    std::size_t transferred_ = 0;
};

/// Small counts mostly; some that do not fit into a socket at once.
inline std::size_t size_of(unsigned number) noexcept {
    return number < 200 ? number + 1 : (number - 199) * 512;
}

/// Of the operations that have one.
inline milliseconds limit_of(std::size_t size) noexcept { return milliseconds(size % 4); }

}  // namespace rondo::fuzz
