#include <rondo/net/resolve_error.hpp>

#include <netdb.h>

namespace rondo::inline v0 {

namespace {

// Users see the numbers, and no <netdb.h>.
static_assert(static_cast<int>(resolver_errc::not_found) == EAI_NONAME);
static_assert(static_cast<int>(resolver_errc::try_again) == EAI_AGAIN);
static_assert(static_cast<int>(resolver_errc::failed) == EAI_FAIL);
static_assert(static_cast<int>(resolver_errc::no_address) == EAI_NODATA);
static_assert(static_cast<int>(resolver_errc::no_such_family) == EAI_FAMILY);
static_assert(static_cast<int>(resolver_errc::unknown_service) == EAI_SERVICE);
static_assert(static_cast<int>(resolver_errc::other_family) == EAI_ADDRFAMILY);
static_assert(static_cast<int>(resolver_errc::not_enough_memory) == EAI_MEMORY);

class category final : public std::error_category {
public:
    const char* name() const noexcept override { return "resolver"; }
    std::string message(int error) const override { return ::gai_strerror(error); }
    std::error_condition default_error_condition(int error) const noexcept override {
        switch (static_cast<resolver_errc>(error)) {
            case resolver_errc::try_again:
                return std::errc::resource_unavailable_try_again;
            case resolver_errc::no_such_family:
            case resolver_errc::other_family:
                return std::errc::address_family_not_supported;
            case resolver_errc::not_enough_memory:
                return std::errc::not_enough_memory;
            default:
                return std::error_condition(error, *this);
        }
    }
};

constinit const category the_category;

}  // namespace

const std::error_category& resolver_category() noexcept { return the_category; }

std::error_code make_error_code(resolver_errc error) noexcept {
    return std::error_code(static_cast<int>(error), the_category);
}

}  // namespace rondo::inline v0
