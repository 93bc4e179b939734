// What kind of exception an exception_ptr holds.
#pragma once

#include <exception>
#include <type_traits>
#include <typeinfo>

namespace rondo::inline v0::detail {

/// Whether `failure` holds an E, a final class: then its type tells, without a rethrow. A server
/// asks this of thousands of children.
template <typename E>
    requires std::is_final_v<E>
bool holds(const std::exception_ptr& failure) noexcept {
    if (failure == nullptr) return false;
#ifdef __GLIBCXX__
    return *failure.__cxa_exception_type() == typeid(E);
#else
    try {
        std::rethrow_exception(failure);
    } catch (const E&) {
        return true;
    } catch (...) {
        return false;
    }
#endif
}

}  // namespace rondo::inline v0::detail
