// A chat: each line that somebody sends goes to all others. The lines are in samples/README.md.
//
//     ./samples/run chat_server --lines          serves localhost:8001 until Ctrl-C
//     ./samples/run chat_client                  type lines, or /help; do so twice, or by nc
//
// Each client has two tasks: one reads its lines, the other one writes what the room puts into the
// client's outbox. Whatever has come meanwhile leaves in one send.
#include "command_line.hpp"

#include <rondo/rondo.hpp>

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <limits>
#include <map>
#include <memory>

namespace {

constexpr std::size_t longest_line = 1000;  // bytes, without its end
constexpr std::size_t longest_name = 20;
constexpr std::size_t most_waiting = 256;  // lines, for one client
constexpr std::size_t most_news = most_waiting / 2;  // of these, who comes and goes
constexpr std::chrono::seconds stop_time(2);  // for what waits when somebody leaves, or all

// With its end. All who get a line share it.
using line = std::shared_ptr<const std::string>;

line make_line(std::string text) {
    text += '\n';
    return std::make_shared<const std::string>(std::move(text));
}

// --- the room ------------------------------------------------------------------------------------

struct client {
    std::string name;
    rondo::channel<line> outbox{most_waiting};
    std::size_t being_sent = 0;  // lines taken out of the outbox, and not yet in the socket
    std::size_t missed = 0;      // lines dropped since there were too many
    bool present = false;
    bool goodbye = false;

    std::size_t waiting() const { return outbox.size() + being_sent; }
    // It has much to take, and has missed nothing so far.
    bool is_crowded() const { return waiting() > most_waiting / 2 && missed == 0; }

    void tell(const line& what, std::size_t room = most_waiting) {
        if (waiting() >= room || !outbox.try_send(what)) ++missed;
    }
    void tell(std::string text) { tell(make_line(std::move(text))); }
    std::string missed_note() const {
        return fmt::format("* you missed {} line{}", missed, missed == 1 ? "" : "s");
    }
};

bool is_name(std::string_view text) {
    return !text.empty() && text.size() <= longest_name &&
           std::ranges::all_of(text, [](unsigned char c) {
               return c < 128 && (std::isalnum(c) || c == '-' || c == '_');
           });
}

// Who is there. Everything runs on one thread, so nothing needs a lock.
class chat_room final : public rondo::stop_hook {
public:
    // Who comes while the server stops is only told so.
    void enter(client& who) {
        if (stopping_) return dismiss(who);
        do {
            who.name = fmt::format("guest{}", ++guests_);
        } while (present_.contains(who.name));
        present_.emplace(who.name, &who);
        who.present = true;
        who.tell(fmt::format("* welcome, {}; try /help", who.name));
        tell_others(who, make_line(fmt::format("* {} joined", who.name)), most_news);
    }

    void leave(client& who) {
        if (!std::exchange(who.present, false)) return;
        who.outbox.close();
        present_.erase(who.name);
        tell_others(who, make_line(fmt::format("* {} left", who.name)), most_news);
    }

    // Returns whether somebody is crowded now. A crowd that comes and goes leaves room for what is
    // said.
    bool tell_others(const client& who, const line& what, std::size_t room = most_waiting) {
        bool crowded = false;
        for (const auto& [name, other] : present_) {
            if (other == &who) continue;
            other->tell(what, room);
            crowded = crowded || other->is_crowded();
        }
        return crowded;
    }

    // Nobody waits for a slow client. But lines that come by the hundred in one piece would be
    // missed by all, as nothing is sent before the loop's next turn: then they go one a turn.
    rondo::task<> pause() {
        auto my_turn = co_await pace_.lock();
        co_await rondo::sleep_for(std::chrono::seconds(0));
    }

    void rename(client& who, const std::string& name) {
        if (!is_name(name)) return who.tell("* a name has 1 to 20 letters, digits, - or _");
        if (present_.contains(name)) return who.tell(fmt::format("* the name {} is taken", name));
        present_.erase(who.name);
        const line news = make_line(fmt::format("* {} is now {}", who.name, name));
        who.name = name;
        present_.emplace(name, &who);
        who.tell(news);
        tell_others(who, news);
    }

    // Not longer than a line: who asks again and again without listening would have the server
    // keep the whole list as often.
    std::string names() const {
        std::string all;
        std::size_t listed = 0;
        for (const auto& [name, each] : present_) {
            if (all.size() + name.size() + 2 > longest_line) break;
            all += (all.empty() ? "" : ", ") + name;
            ++listed;
        }
        if (listed == present_.size()) return all;
        return fmt::format("{} and {} more", all, present_.size() - listed);
    }

    // The server stops: what waits for a client is still sent, and goodbye after it.
    void begin_stop() noexcept override {
        stopping_ = true;
        for (const auto& [name, each] : present_) dismiss(*each);
        present_.clear();
    }

private:
    static void dismiss(client& who) noexcept {
        who.present = false;
        who.goodbye = true;
        who.outbox.close();
    }

    std::map<std::string, client*> present_;  // by name, so that /who is sorted
    std::size_t guests_ = 0;
    bool stopping_ = false;
    rondo::mutex pace_;
};

// --- what a client says --------------------------------------------------------------------------

void obey(chat_room& room, client& me, std::string_view text) {
    const std::string_view word = text.substr(0, text.find(' '));
    std::string_view argument = text.substr(word.size());
    argument.remove_prefix(std::min(argument.find_first_not_of(' '), argument.size()));
    argument.remove_suffix(argument.size() - (argument.find_last_not_of(' ') + 1));
    if (word == "/nick") {
        room.rename(me, std::string(argument));
    } else if (word == "/who") {
        me.tell(fmt::format("* here: {}", room.names()));
    } else if (word == "/help") {
        me.tell("* commands: /nick NAME, /who, /quit, /help");
    } else if (word == "/quit") {
        me.goodbye = true;
        room.leave(me);
    } else {
        me.tell(fmt::format("* there is no command {}; try /help", word));
    }
}

// Completes when the next line may be heard.
rondo::task<> hear(chat_room& room, client& me, std::string text) {
    // They would act on the terminals of the others.
    const auto is_control = [](unsigned char c) { return c < 0x20 || c == 0x7f; };
    std::ranges::replace_if(text, is_control, ' ');
    if (text.empty()) co_return;
    if (text.front() == '/') {
        obey(room, me, text);
        // Who gives hundreds of commands in one piece does not hold up the others.
        co_await rondo::sleep_for(std::chrono::seconds(0));
    } else if (room.tell_others(me, make_line(fmt::format("{}: {}", me.name, text)))) {
        co_await room.pause();
    }
}

rondo::task<> read_lines(chat_room& room, client& me, rondo::tcp_socket& socket) {
    rondo::buffered_reader reader(socket, longest_line);
    while (me.present) {
        auto read = co_await rondo::as_result(reader.read_line());
        if (read.error() == rondo::stream_errc::limit_exceeded) {
            me.tell(fmt::format("* a line has at most {} bytes", longest_line));
            co_await reader.skip_line();
            continue;
        }
        const std::optional<std::string_view> text = read.value();  // throws any other error
        if (!text || !me.present) break;
        co_await hear(room, me, std::string(*text));
    }
    room.leave(me);
}

// --- what a client is told -----------------------------------------------------------------------

rondo::task<> write_lines(client& me, rondo::tcp_socket& socket) {
    std::vector<line> lines;
    std::vector<rondo::const_buffer> buffers;
    while (auto count = co_await me.outbox.receive_all(lines)) {
        me.being_sent = count;
        buffers.clear();
        for (const line& each : lines) buffers.emplace_back(*each);
        co_await socket.send(buffers);
        me.being_sent = 0;
        // What was missed comes behind what has waited all the while.
        if (me.missed != 0 && me.outbox.try_send(make_line(me.missed_note()))) me.missed = 0;
    }
    std::string last_words;
    if (me.missed != 0) last_words += me.missed_note() + "\n";
    if (me.goodbye) last_words += "* goodbye\n";
    co_await socket.send(last_words);
}

// --- a client, from its connection to its end ----------------------------------------------------

rondo::task<> skip_to_end(rondo::tcp_socket& socket) {
    for (;;) {
        const auto unheard = co_await socket.recv();
        if (!unheard) co_return;
    }
}

// Who has said /quit may go on talking. close() would answer that by a reset, and drop those of our
// last words that have not arrived yet.
rondo::task<> part(rondo::tcp_socket& socket) {
    try {
        socket.shutdown(rondo::shutdown_mode::send);
    } catch (const rondo::socket_error& failed) {
        if (failed.code() != std::errc::not_connected) throw;  // else it has hung up
    }
    auto ended = co_await rondo::as_result(rondo::with_timeout(stop_time, skip_to_end(socket)));
    if (ended.error() != std::errc::timed_out) ended.value();  // throws
}

// A client is in the room as long as this lives, however its tasks end.
class presence {
public:
    presence(chat_room& room, client& who) : room_(room), who_(who) { room_.enter(who_); }
    presence(const presence&) = delete;
    presence& operator=(const presence&) = delete;
    ~presence() { room_.leave(who_); }

private:
    chat_room& room_;
    client& who_;
};

rondo::task<> serve_client(chat_room& room, rondo::tcp_socket socket,
                           std::chrono::seconds patience) {
    // Who vanished without a word, or takes nothing for so long, does not stay for ever.
    socket.set(rondo::user_timeout(patience));
    socket.set(rondo::keep_alive(patience, patience / 4, 4));
    client me;
    const presence here(room, me);
    // If one of them fails, the other one is cancelled.
    co_await rondo::when_all(read_lines(room, me, socket), write_lines(me, socket));
    co_await part(socket);
}

struct settings {
    std::string where = "localhost:8001";
    std::size_t limit = std::numeric_limits<std::size_t>::max();  // clients
    unsigned patience = 60;                                       // seconds
    bool stats = false;
};

rondo::task<> serve(settings chosen) {
    chat_room room;
    rondo::serve_stats stats;
    (co_await rondo::this_context()).stop()->add(room);
    rondo::serve_options options;
    options.max_connections = chosen.limit;
    options.stats = &stats;
    options.end_on_reset = true;  // who hangs up rudely has hung up
    options.on_listening = [](std::span<const rondo::endpoint> locals) {
        for (const auto& local : locals) fmt::print("listening on {}\n", local);
        std::fflush(stdout);
    };
    const std::chrono::seconds patience(chosen.patience);
    const auto handler = [&](rondo::tcp_socket socket) {
        return serve_client(room, std::move(socket), patience);
    };
    co_await rondo::tcp_serve(chosen.where, handler, options);
    if (!chosen.stats) co_return;
    fmt::print("accepted {} clients, at most {} at a time: {} lost; at the limit {} times\n",
               stats.accepted, stats.most_serving, stats.failed, stats.reached_limit);
    const rondo::scheduler& loop = co_await rondo::this_scheduler();
    const rondo::scheduler_stats counters = loop.stats();
    fmt::print("{}", rondo::prometheus_text(std::span(&counters, 1)));
}

}  // namespace

int main(int argc, char** argv) {
    settings chosen;
    command_line line("A chat: each line goes to all others. Ctrl-C says goodbye to all.");
    bool lines = true;
    line.flag("--lines", lines, "clients speak lines, as nc does (also without this)");
    line.add("--limit", chosen.limit, "most clients at a time").positive().hide_default();
    line.add("--patience", chosen.patience,
             "seconds until a client that takes nothing, or has vanished, is gone")
        .between(4, 32767);
    line.flag("--stats", chosen.stats, "print counters at the end");
    line.add("HOST:PORT", chosen.where, "where to listen");
    line.parse(argc, argv);

    rondo::interrupt_options options;
    options.drain = stop_time;
    return rondo::run_main(serve(std::move(chosen)), options);
}
