// Ctrl-C for programs whose calls block: how a signal gets in without getting lost.
#pragma once

#include "net.hpp"

#include <poll.h>

#include <csignal>

namespace net {

// What the handlers may touch. A signal comes in one of two places only: while wait_readable()
// waits, and while a `served` lives. Anywhere else it would come between the look at the flag and
// the call that blocks, and be noticed after the next client.
inline volatile std::sig_atomic_t stop_requested = 0;
inline volatile std::sig_atomic_t served_socket = -1;
inline sigset_t usual_signals;

// shutdown() and alarm() are among the few calls a handler may make. A recv() that blocks returns
// what had arrived, then the end of the stream.
inline void on_stop(int) {
    stop_requested = 1;
    if (served_socket >= 0) ::shutdown(served_socket, SHUT_RD);
    ::alarm(drain_time.count());
}

// For a client that does not take what is sent.
inline void on_drained(int) {
    if (served_socket >= 0) ::shutdown(served_socket, SHUT_RDWR);
}

inline void handle(int signal, void (*handler)(int), unsigned flags) {
    struct sigaction action {};
    action.sa_handler = handler;
    action.sa_flags = static_cast<int>(flags);
    check(::sigaction(signal, &action, nullptr), "sigaction");
}

/// From here on SIGINT and SIGTERM stop the program in wait_readable(). A second one ends it at
/// once.
inline void hold_signals() {
    sigset_t stops;
    ::sigemptyset(&stops);
    ::sigaddset(&stops, SIGINT);
    ::sigaddset(&stops, SIGTERM);
    ::sigprocmask(SIG_BLOCK, &stops, &usual_signals);
    handle(SIGINT, on_stop, SA_RESETHAND);
    handle(SIGTERM, on_stop, SA_RESETHAND);
    handle(SIGALRM, on_drained, 0);
}

/// Waits for any of `sockets`; the first that is readable, or -1 after a signal.
inline int wait_readable(const std::vector<descriptor>& sockets) {
    std::vector<pollfd> watched;
    for (const auto& each : sockets) watched.push_back({each.get(), POLLIN, 0});
    while (!stop_requested) {
        const int count = ::ppoll(watched.data(), watched.size(), nullptr, &usual_signals);
        if (count < 0 && errno != EINTR) fail("ppoll");
        for (const auto& each : watched) {
            if (count > 0 && each.revents != 0) return each.fd;
        }
    }
    return -1;
}

/// While it lives, a signal ends what `socket` receives, and after a while what it sends.
class served {
public:
    explicit served(int socket) {
        served_socket = socket;
        ::sigprocmask(SIG_SETMASK, &usual_signals, &held_);
    }
    served(const served&) = delete;
    served& operator=(const served&) = delete;
    ~served() {
        ::sigprocmask(SIG_SETMASK, &held_, nullptr);
        served_socket = -1;
    }

private:
    sigset_t held_{};
};

}  // namespace net
