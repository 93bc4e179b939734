#include <rondo/io/file.hpp>
#include <rondo/io/file_error.hpp>

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

namespace rondo::inline v0 {

namespace {

constexpr int to_system(open_flags flags) noexcept {
    const auto has = [flags](open_flags one) {
        return (static_cast<std::uint32_t>(flags) & static_cast<std::uint32_t>(one)) != 0;
    };
    const bool writes = has(open_flags::write) || has(open_flags::append);
    int result = O_CLOEXEC;
    result |= !writes ? O_RDONLY : has(open_flags::read) ? O_RDWR : O_WRONLY;
    if (has(open_flags::append)) result |= O_APPEND;
    if (has(open_flags::create)) result |= O_CREAT;
    if (has(open_flags::create_new)) result |= O_CREAT | O_EXCL;
    if (has(open_flags::truncate)) result |= O_TRUNC;
    if (has(open_flags::no_follow)) result |= O_NOFOLLOW;
    return result;
}

}  // namespace

file::file(detail::unique_fd descriptor, std::string path)
    : state_(std::make_unique<detail::open_file>(std::move(descriptor), std::move(path))) {}

detail::file_open_operation file::open(std::string path, open_flags flags,
                                  file_permissions permissions) {
    return detail::file_open_operation(std::move(path), to_system(flags), permissions.bits);
}

std::uint64_t file::size() const {
    struct ::stat about {};
    if (::fstat(descriptor(), &about) != 0) throw file_error("fstat", errno, path());
    return static_cast<std::uint64_t>(about.st_size);
}

}  // namespace rondo::inline v0
