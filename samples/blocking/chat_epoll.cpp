// A chat server with epoll: lines from each to all others, one thread, any number of clients.
//
//     ./samples/run blocking/chat_epoll          serves localhost:8001 until Ctrl-C
//     nc localhost 8001                          type lines; /help tells the commands
//
// What the chat does stands in chat_room.hpp; here is how it waits. A line may be for a client that
// cannot take it now, so there are two things to wait for with each: that it says something, and,
// while lines wait for it, that its socket has room again.
#include "chat_room.hpp"

#include <sys/epoll.h>

#include <span>
#include <unordered_map>

namespace {

struct client : chat::member {
    std::uint32_t watched_for = EPOLLIN;
};

class chat_server {
public:
    explicit chat_server(const std::string& where)
        : poller_(net::check(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1")),
          listeners_(net::listen_on(where)) {
        watch(EPOLL_CTL_ADD, signals_.get(), EPOLLIN);
        for (const auto& each : listeners_) watch(EPOLL_CTL_ADD, each.get(), EPOLLIN);
    }

    void run() {
        std::array<epoll_event, 256> events;
        while (!stopping_ || !clients_.empty()) {
            const int count = ::epoll_wait(poller_.get(), events.data(), events.size(), timeout());
            if (count < 0 && errno != EINTR) net::fail("epoll_wait");
            if (stopping_ && net::steady::now() >= ends_at_) return;
            for (const epoll_event& event :
                 std::span(events).first(static_cast<std::size_t>(std::max(count, 0)))) {
                dispatch(event);
            }
            if (told_to_stop_ && !stopping_) stop();
            attend_touched();
            if (paused_ && !pause_.is_on()) resume_listeners();
        }
    }

private:
    int timeout() const {
        if (stopping_) return net::milliseconds_until(ends_at_);
        return paused_ ? net::milliseconds_until(pause_.end()) : -1;
    }

    void dispatch(const epoll_event& event) {
        const int descriptor = event.data.fd;
        if (descriptor == signals_.get()) {
            told_to_stop_ = true;  // later: this turn's other events may name what stop() closes
        } else if (is_listener(descriptor)) {
            accept_all(descriptor);
        } else {
            client& who = clients_.at(descriptor);
            if (who.is_present && (event.events & ~EPOLLOUT)) room_.receive(who);
            room_.touch(who);
        }
    }

    bool is_listener(int descriptor) const {
        const auto same = [&](const auto& each) { return each.get() == descriptor; };
        return std::any_of(listeners_.begin(), listeners_.end(), same);
    }

    void watch(int operation, int descriptor, std::uint32_t events) {
        epoll_event event{};
        event.events = events;
        event.data.fd = descriptor;
        net::check(::epoll_ctl(poller_.get(), operation, descriptor, &event), "epoll_ctl");
    }

    void accept_all(int listener) {
        for (;;) {
            const int made = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
            if (made >= 0) {
                watch(EPOLL_CTL_ADD, made, EPOLLIN);
                client& who = clients_[made];
                who.socket = net::descriptor(made);
                room_.enter(who);
                continue;
            }
            if (errno == EAGAIN) return;
            if (pause_.begins_with(errno)) return pause_listeners();
            if (!net::is_of_connection(errno)) net::fail("accept");
        }
    }

    void pause_listeners() {
        paused_ = true;
        for (const auto& each : listeners_) watch(EPOLL_CTL_MOD, each.get(), 0);
    }

    void resume_listeners() {
        paused_ = false;
        for (const auto& each : listeners_) watch(EPOLL_CTL_MOD, each.get(), EPOLLIN);
    }

    // Lines are sent at the end of a turn: those for one client leave in one call.
    void attend_touched() {
        for (auto touched = room_.take_touched(); !touched.empty();
             touched = room_.take_touched()) {
            for (chat::member* each : touched) attend(static_cast<client&>(*each));
        }
    }

    // Whoever is touched again meanwhile is attended to again, so it must not end here.
    void attend(client& who) {
        room_.send(who);
        if (who.is_broken) room_.leave(who);
        if (who.is_touched) return;
        const int descriptor = who.socket.get();
        if (who.is_over()) {
            if (!who.is_broken) chat::discard_input(descriptor);
            clients_.erase(descriptor);
            return;
        }
        const std::uint32_t wanted =
            (who.is_present ? EPOLLIN : 0U) | (who.waiting.empty() ? 0U : EPOLLOUT);
        if (wanted == who.watched_for) return;
        watch(EPOLL_CTL_MOD, descriptor, wanted);
        who.watched_for = wanted;
    }

    void stop() {
        signals_.take();
        stopping_ = true;
        paused_ = false;
        ends_at_ = net::steady::now() + chat::stop_time;
        watch(EPOLL_CTL_DEL, signals_.get(), 0);
        listeners_.clear();
        room_.close();
    }

    net::stop_signals signals_;
    net::descriptor poller_;
    std::vector<net::descriptor> listeners_;
    std::unordered_map<int, client> clients_;
    chat::room room_;
    net::accept_pause pause_;
    bool paused_ = false;
    bool told_to_stop_ = false;
    bool stopping_ = false;
    net::steady::time_point ends_at_;
};

}  // namespace

int main(int argc, char** argv) {
    const net::usage about{"Serves a chat with epoll: lines from each to all others, until Ctrl-C.",
                           "localhost:8001", "", "--lines"};
    return net::run(argc, argv, about,
                    [](const std::string& where, const auto&) { chat_server(where).run(); });
}
