#include <rondo/task/operation_canceled.hpp>

#include <typeinfo>

namespace rondo::inline v0 {

operation_canceled::~operation_canceled() = default;

bool is_canceled(const std::exception_ptr& failure) noexcept {
    if (failure == nullptr) return false;
#ifdef __GLIBCXX__
    // A cancelled server asks this of thousands of children; looking at the type costs a
    // thousandth of a rethrow. A derived class falls through to the portable way.
    if (*failure.__cxa_exception_type() == typeid(operation_canceled)) return true;
#endif
    try {
        std::rethrow_exception(failure);
    } catch (const operation_canceled&) {
        return true;
    } catch (...) {
        return false;
    }
}

namespace detail {
void throw_canceled(std::size_t transferred) { throw operation_canceled(transferred); }
}  // namespace detail

}  // namespace rondo::inline v0
