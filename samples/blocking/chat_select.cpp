// A chat server with select(): lines from each to all others, one thread, up to a thousand clients.
//
//     ./samples/run blocking/chat_select         serves localhost:8001 until Ctrl-C
//     nc localhost 8001                          type lines; /help tells the commands
//
// What the chat does stands in chat_room.hpp; here is how it waits: for each client that it says
// something, and, while lines wait for it, that its socket has room again. Descriptors from 1024 on
// have no place in an fd_set, so their clients are refused.
#include "chat_room.hpp"

#include <sys/select.h>

namespace {

class chat_server {
public:
    explicit chat_server(const std::string& where) : listeners_(net::listen_on(where)) {
        FD_ZERO(&reading_);
        FD_ZERO(&writing_);
        watch(signals_.get());
        for (const auto& each : listeners_) watch(each.get());
    }

    void run() {
        while (!stopping_ || !clients_.empty()) {
            fd_set readable = reading_;  // select() overwrites what it is asked for
            fd_set writable = writing_;
            timeval patience{};
            const int count =
                ::select(highest_ + 1, &readable, &writable, nullptr, timeout(patience));
            if (count < 0 && errno != EINTR) net::fail("select");
            if (stopping_ && net::steady::now() >= ends_at_) return;
            if (count >= 0) dispatch(readable, writable);
            attend_touched();
            if (paused_ && !pause_.is_on()) resume_listeners();
        }
    }

private:
    timeval* timeout(timeval& out) const {
        if (!stopping_ && !paused_) return nullptr;
        const int left = net::milliseconds_until(stopping_ ? ends_at_ : pause_.end());
        out = {left / 1000, left % 1000 * 1000};
        return &out;
    }

    void watch(int descriptor) {
        if (descriptor >= FD_SETSIZE) {
            throw std::runtime_error("no descriptor below FD_SETSIZE is free for the listener");
        }
        FD_SET(descriptor, &reading_);
        highest_ = std::max(highest_, descriptor);
    }

    void dispatch(const fd_set& readable, const fd_set& writable) {
        for (auto& [descriptor, who] : clients_) {
            if (FD_ISSET(descriptor, &readable)) room_.receive(who);
            if (FD_ISSET(descriptor, &writable)) room_.touch(who);
        }
        for (const auto& each : listeners_) {
            if (FD_ISSET(each.get(), &readable)) accept_all(each.get());
        }
        if (FD_ISSET(signals_.get(), &readable)) stop();
    }

    void accept_all(int listener) {
        while (!paused_) {
            net::address from;
            net::descriptor socket(
                ::accept4(listener, from.data(), &from.size, SOCK_NONBLOCK | SOCK_CLOEXEC));
            if (socket.get() >= 0) {
                add(std::move(socket), from);
            } else if (errno == EAGAIN) {
                return;
            } else if (pause_.begins_with(errno)) {
                pause_listeners();
            } else if (!net::is_of_connection(errno)) {
                net::fail("accept");
            }
        }
    }

    void add(net::descriptor socket, const net::address& from) {
        const int number = socket.get();
        if (number >= FD_SETSIZE) {
            std::fprintf(stderr,
                         "refused %s: its descriptor would be %d, and select() knows only those "
                         "below FD_SETSIZE, %d\n",
                         net::to_string(from).c_str(), number, FD_SETSIZE);
            net::send_some(number, "* the chat is full\n");
            return;
        }
        watch(number);
        chat::member& who = clients_[number];
        who.socket = std::move(socket);
        room_.enter(who);
    }

    void pause_listeners() {
        paused_ = true;
        for (const auto& each : listeners_) FD_CLR(each.get(), &reading_);
    }

    void resume_listeners() {
        paused_ = false;
        for (const auto& each : listeners_) FD_SET(each.get(), &reading_);
    }

    // Lines are sent at the end of a turn: those for one client leave in one call.
    void attend_touched() {
        for (auto touched = room_.take_touched(); !touched.empty();
             touched = room_.take_touched()) {
            for (chat::member* each : touched) attend(*each);
        }
    }

    // Whoever is touched again meanwhile is attended to again, so it must not end here.
    void attend(chat::member& who) {
        room_.send(who);
        if (who.is_broken) room_.leave(who);
        if (who.is_touched) return;
        const int descriptor = who.socket.get();
        FD_CLR(descriptor, &reading_);
        FD_CLR(descriptor, &writing_);
        if (who.is_over()) {
            if (!who.is_broken) chat::discard_input(descriptor);
            clients_.erase(descriptor);
            return;
        }
        if (who.is_present) FD_SET(descriptor, &reading_);
        if (!who.waiting.empty()) FD_SET(descriptor, &writing_);
    }

    void stop() {
        signals_.take();
        stopping_ = true;
        ends_at_ = net::steady::now() + chat::stop_time;
        FD_CLR(signals_.get(), &reading_);
        pause_listeners();
        paused_ = false;
        listeners_.clear();
        room_.close();
    }

    net::stop_signals signals_;
    std::vector<net::descriptor> listeners_;
    std::map<int, chat::member> clients_;  // by descriptor
    chat::room room_;
    fd_set reading_;
    fd_set writing_;
    int highest_ = 0;  // ever; it need not shrink, since FD_SETSIZE bounds it
    net::accept_pause pause_;
    bool paused_ = false;
    bool stopping_ = false;
    net::steady::time_point ends_at_;
};

}  // namespace

int main(int argc, char** argv) {
    const net::usage about{
        "Serves a chat with select(): lines from each to all others, until Ctrl-C.",
        "localhost:8001", "", "--lines"};
    return net::run(argc, argv, about,
                    [](const std::string& where, const auto&) { chat_server(where).run(); });
}
