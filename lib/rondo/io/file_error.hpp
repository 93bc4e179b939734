// The errors of files: a text that names the verb, the path and what to check.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <system_error>

namespace rondo::inline v0 {

/// A failed call on a file. `code()` is the errno in `std::generic_category()`; `what()` reads
/// `open /etc/shadow: Permission denied (see namei -l /etc/shadow)`. Copying does not throw.
class file_error final : public std::system_error {
public:
    /// `error` is an errno above 0. An empty path: the file has no name here.
    file_error(const char* verb, int error, const std::string& path, std::size_t transferred = 0);

    [[nodiscard]] const char* what() const noexcept override { return text_.what(); }

    /// How many bytes went through before an all-or-nothing operation was cut short.
    [[nodiscard]] std::size_t transferred() const noexcept { return transferred_; }

private:
    // Holds the text because its copies do not throw.
    std::runtime_error text_;
    std::size_t transferred_;
};

}  // namespace rondo::inline v0
