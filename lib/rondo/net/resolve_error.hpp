// The errors of name resolution.
#pragma once

#include <stdexcept>
#include <string>
#include <system_error>

namespace rondo::inline v0 {

/// What getaddrinfo(3) reports, with its numbers (EAI_*); gai_strerror(3) says it in words.
enum class resolver_errc : int {
    not_found = -2,          ///< no such name, EAI_NONAME
    try_again = -3,          ///< no name server has answered, EAI_AGAIN
    failed = -4,             ///< a name server cannot answer, EAI_FAIL
    no_address = -5,         ///< the name has no address (of this family), EAI_NODATA
    no_such_family = -6,     ///< EAI_FAMILY
    unknown_service = -8,    ///< EAI_SERVICE
    other_family = -9,       ///< its address is of the other family, EAI_ADDRFAMILY
    not_enough_memory = -10  ///< EAI_MEMORY
};

/// The category of resolver_errc. An EAI_SYSTEM is reported as its errno in
/// `std::generic_category()` instead.
const std::error_category& resolver_category() noexcept;
std::error_code make_error_code(resolver_errc error) noexcept;

/// A name that could not be resolved. `what()` reads
/// `resolve "example.invalid": Name or service not known (check the spelling; see getent ahosts
/// example.invalid)`.
class resolve_error : public std::system_error {
public:
    resolve_error(std::error_code error, const std::string& sentence)
        : std::system_error(error), sentence_(sentence) {}

    [[nodiscard]] const char* what() const noexcept override { return sentence_.what(); }

private:
    // Holds the text because its copies do not throw.
    std::runtime_error sentence_;
};

}  // namespace rondo::inline v0

template <>
struct std::is_error_code_enum<rondo::resolver_errc> : std::true_type {};
