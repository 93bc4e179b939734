#include <support/child_process.hpp>
#include <support/private_network.hpp>

#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <set>
#include <stdexcept>
#include <system_error>

namespace rondo::test {

namespace {

[[noreturn]] void fail(const std::string& call) {
    throw std::system_error(errno, std::generic_category(), call);
}

bool unshare_network() {
    constexpr int wanted = CLONE_NEWNET | CLONE_NEWNS;
    if (::unshare(wanted) == 0) return true;
    const auto user = ::geteuid();
    const auto group = ::getegid();
    if (::unshare(wanted | CLONE_NEWUSER) != 0) return false;
    // Programs that are run from here, such as ip, are to be root's as well.
    std::ofstream("/proc/self/setgroups") << "deny";
    std::ofstream("/proc/self/uid_map") << "0 " << user << " 1";
    std::ofstream("/proc/self/gid_map") << "0 " << group << " 1";
    return true;
}

void raise_loopback() {
    const detail::unique_fd any(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    std::strcpy(request.ifr_name, "lo");
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    if (::ioctl(any.get(), SIOCSIFFLAGS, &request) != 0) fail("raising lo");
}

}  // namespace

bool may_have_private_network() {
    static const bool may = in_child([] { return unshare_network() ? 0 : 1; }).code == 0;
    return may;
}

bool may_change_routes() { return std::system("command -v ip >/dev/null") == 0; }

std::string in_private_network(const std::function<int()>& program) {
    child_process child([&] {
        if (!unshare_network()) fail("unshare");
        // Mounts made here stay here.
        if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) fail("mount");
        raise_loopback();
        return program();
    });
    std::string said;
    for (std::string line = child.read_line(); !line.empty(); line = child.read_line()) {
        said += line + '\n';
    }
    const int code = child.wait();
    if (code != 0) {
        throw std::runtime_error("the child ended with " + std::to_string(code) + ": " +
                                 child.error_text());
    }
    return said;
}

void shell(const std::string& command) {
    if (std::system(command.c_str()) != 0) throw std::runtime_error(command + " has failed");
}

void replace_file(const std::string& path, const std::string& text) {
    static std::set<std::string> replaced;
    if (replaced.insert(path).second) {
        std::string own = "/tmp/rondo_test_XXXXXX";
        const detail::unique_fd made(::mkstemp(own.data()));
        if (!made) fail("mkstemp");
        const bool mounted = ::fchmod(made.get(), 0644) == 0 &&
                             ::mount(own.c_str(), path.c_str(), nullptr, MS_BIND, nullptr) == 0;
        const int error = errno;
        ::unlink(own.c_str());
        errno = error;
        if (!mounted) fail("replacing " + path);
    }
    std::ofstream file(path, std::ios::trunc);
    file << text;
    if (!file.flush()) throw std::runtime_error("writing " + path);
}

}  // namespace rondo::test
