#include <rondo/io/file_error.hpp>

#include <fmt/format.h>

#include <cerrno>

namespace rondo::inline v0 {

namespace {

/// What to check; empty where there is nothing to add to the system's own message.
std::string hint_for(int error, const std::string& path) {
    switch (error) {
        case EACCES:
        case EPERM:
        case ELOOP: return path.empty() ? "" : fmt::format("see namei -l {}", path);
        case EEXIST: return "it is there already, and a new one was asked for";
        case ENOSPC: return "the file system is full; see df -h and df -i";
        case EDQUOT: return "the quota of this user is used up; see quota";
        case EROFS: return "the file system is mounted read-only; see findmnt -T";
        case EFBIG: return "too large for the file system, or see ulimit -f";
        case EBADF: return "the file was not opened for this";
        case EMFILE: return "this process has no descriptor left; see ulimit -n";
        case ENFILE: return "the system has no file left; see sysctl fs.file-max";
        case EIO: return "the device failed; see dmesg";
        case ENXIO: return "nobody has the other side of this FIFO open";
        default: return {};
    }
}

std::string text_for(const char* verb, int error, const std::string& path,
                     std::size_t transferred) {
    std::string text = verb;
    if (!path.empty()) text += ' ' + path;
    text += ": " + std::generic_category().message(error);
    if (transferred > 0) {
        text += fmt::format(" after {} {}", transferred, transferred == 1 ? "byte" : "bytes");
    }
    const std::string hint = hint_for(error, path);
    if (!hint.empty()) text += fmt::format(" ({})", hint);
    return text;
}

}  // namespace

file_error::file_error(const char* verb, int error, const std::string& path,
                       std::size_t transferred)
    : std::system_error(error, std::generic_category()),
      text_(text_for(verb, error, path, transferred)),
      transferred_(transferred) {}

}  // namespace rondo::inline v0
