#include <rondo/detail/status_word.hpp>
#include <rondo/engine/ring_error.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include <linux/capability.h>
#include <sys/resource.h>
#include <unistd.h>

namespace rondo::inline v0::detail {

namespace {

/// See status_word(); empty also where the file cannot be read.
std::string read_word(const char* path, std::string_view key = {}) {
    std::ifstream file(path);
    const std::string text((std::istreambuf_iterator<char>(file)), {});
    return std::string(status_word(text, key));
}

/// The soft limit, RLIM_INFINITY also where it cannot be told.
rlim_t soft_limit(decltype(RLIMIT_NOFILE) resource) {
    rlimit limit{};
    return getrlimit(resource, &limit) == 0 ? limit.rlim_cur : RLIM_INFINITY;
}

bool has_capability(unsigned number) {
    const std::string effective = read_word("/proc/self/status", "CapEff:");
    return (std::strtoull(effective.c_str(), nullptr, 16) >> number & 1) != 0;
}

/// Whether kernel.io_uring_disabled=1 lets this process in: its group, or an administrator.
bool is_privileged() {
    if (has_capability(CAP_SYS_ADMIN)) return true;
    const std::string group = read_word("/proc/sys/kernel/io_uring_group");
    const auto is_member = [&](gid_t mine) { return std::to_string(mine) == group; };
    std::array<gid_t, 1024> groups{};
    const int count = getgroups(static_cast<int>(groups.size()), groups.data());
    return is_member(getegid()) ||
           std::any_of(groups.begin(), groups.begin() + std::max(count, 0), is_member);
}

std::string forbidden_remedy() {
    const std::string disabled = read_word("/proc/sys/kernel/io_uring_disabled");
    if (disabled == "2")
        return "kernel.io_uring_disabled is 2, nobody may use io_uring: "
               "sysctl kernel.io_uring_disabled=0, or RONDO_ENGINE=epoll";
    if (disabled == "1" && !is_privileged())
        return "kernel.io_uring_disabled is 1, only members of group " +
               read_word("/proc/sys/kernel/io_uring_group") +
               " (kernel.io_uring_group) may use io_uring: join it, "
               "sysctl kernel.io_uring_disabled=0, or RONDO_ENGINE=epoll";
    const std::string filter = read_word("/proc/self/status", "Seccomp:");
    if (filter == "1" || filter == "2")
        return "a seccomp filter forbids it, as those of containers do: allow io_uring_setup, "
               "io_uring_enter and io_uring_register there (docker: --security-opt seccomp=...), "
               "or RONDO_ENGINE=epoll";
    return "a security module forbids it: see its audit log, or RONDO_ENGINE=epoll";
}

std::string missing_remedy() {
    const std::string filter = read_word("/proc/self/status", "Seccomp:");
    if (filter == "1" || filter == "2")
        return "a seccomp filter hides it, as those of containers do, or the kernel was built "
               "without CONFIG_IO_URING: allow the io_uring calls, or RONDO_ENGINE=epoll";
    return "the kernel was built without CONFIG_IO_URING, or is older than 6.1: use a newer one, "
           "or RONDO_ENGINE=epoll";
}

std::string memory_remedy() {
    const rlim_t limit = soft_limit(RLIMIT_MEMLOCK);
    if (limit == RLIM_INFINITY || has_capability(CAP_IPC_LOCK))
        return "the kernel found no memory for the smallest ring: free some, or raise the limit "
               "of the control group";
    return "the ring is locked into memory, RLIMIT_MEMLOCK is " +
           std::to_string(limit) +
           " bytes: raise it by ulimit -l or LimitMEMLOCK=, or end other rings of this user";
}

std::string remedy(int error) {
    switch (error) {
        case EPERM:
        case EACCES: return forbidden_remedy();
        case ENOSYS: return missing_remedy();
        case ENOMEM: return memory_remedy();
        case EMFILE:
            return "all descriptors of this process are in use, RLIMIT_NOFILE is " +
                   std::to_string(soft_limit(RLIMIT_NOFILE)) +
                   ": raise it by ulimit -n or LimitNOFILE=";
        case ENFILE:
            return "all descriptors of this machine are in use: raise sysctl fs.file-max";
        default: return "unexpected; see io_uring_setup(2)";
    }
}

}  // namespace

void fail_setup(int error, const std::string& call) {
    throw ring_error(error, call, remedy(error));
}

void fail_too_old(const std::string& what) {
    throw ring_error(ENOSYS, "io_uring",
                     "this kernel has no " + what +
                         ": Linux 6.1 or newer is needed, or RONDO_ENGINE=epoll");
}

}  // namespace rondo::inline v0::detail
