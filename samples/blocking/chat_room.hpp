// The chat itself: who is there and what they are told. It does not know how its server waits.
#pragma once

#include "net.hpp"

#include <sys/uio.h>

#include <array>
#include <cctype>
#include <deque>
#include <map>

namespace chat {

constexpr std::size_t longest_line = 1000;  // bytes, without its end
constexpr std::size_t longest_name = 20;
constexpr std::size_t most_waiting = 256;     // lines, for one member
constexpr std::chrono::seconds stop_time{2};  // for what waits when the server stops

/// With its end. All who get a line share it.
using line = std::shared_ptr<const std::string>;

/// A client, from its connection to the end of it. Must not move.
struct member {
    net::descriptor socket;
    std::string name;
    std::string partial;       ///< what has come of a line
    std::deque<line> waiting;  ///< to be sent
    std::size_t sent = 0;      ///< bytes of the first of them
    std::size_t missed = 0;    ///< lines, since there were too many
    bool is_present = false;   ///< has entered and not left; nobody else is read from
    bool is_broken = false;    ///< nothing can be sent any more
    bool is_touched = false;   ///< is in the list of those to attend to

    [[nodiscard]] bool is_over() const { return is_broken || (!is_present && waiting.empty()); }
};

inline bool is_name(std::string_view text) {
    return !text.empty() && text.size() <= longest_name &&
           std::all_of(text.begin(), text.end(), [](unsigned char c) {
               return c < 128 && (std::isalnum(c) || c == '-' || c == '_');
           });
}

inline std::string_view trimmed(std::string_view text) {
    const std::size_t begin = text.find_first_not_of(' ');
    if (begin == std::string_view::npos) return {};
    return text.substr(begin, text.find_last_not_of(' ') - begin + 1);
}

class room {
public:
    /// A client has connected; its socket is set and does not block.
    void enter(member& who) {
        do {
            who.name = "guest" + std::to_string(++guests_);
        } while (present_.contains(who.name));
        present_.emplace(who.name, &who);
        who.is_present = true;
        tell(who, "* welcome, " + who.name + "; try /help");
        tell_others(who, "* " + who.name + " joined");
    }

    /// Receives once and does what the lines say. A broken connection has left.
    void receive(member& who) {
        const ssize_t n = ::recv(who.socket.get(), buffer_.data(), buffer_.size(), 0);
        if (n > 0) return take(who, {buffer_.data(), static_cast<std::size_t>(n)});
        if (n < 0 && net::is_temporary(errno)) return;
        if (n == 0 && !who.partial.empty()) finish_line(who);
        if (n < 0) who.is_broken = true;
        leave(who);
    }

    /// Sends what waits, as far as the socket takes it: many lines in one call. Whom it finds
    /// broken is still present, so that it may be called while others are told.
    void send(member& who) {
        while (!who.waiting.empty() && !who.is_broken) {
            const ssize_t n = send_once(who);
            if (n < 0) {
                who.is_broken = !net::is_temporary(errno);
                return;
            }
            drop_sent(who, static_cast<std::size_t>(n));
            // Not at once for each line it takes, or it would get a note for each it misses.
            if (who.missed != 0 && who.waiting.size() <= most_waiting / 2) tell_missed(who);
        }
    }

    /// Puts a member on the list of those to attend to.
    void touch(member& who) {
        if (!std::exchange(who.is_touched, true)) touched_.push_back(&who);
    }

    /// Those for whom something has changed since the last call: the server sends to them, closes
    /// those that are over, and waits for the rest.
    std::vector<member*> take_touched() {
        for (member* each : touched_) each->is_touched = false;
        return std::exchange(touched_, {});
    }

    /// Whoever is broken or gone; harmless for those that have left.
    void leave(member& who) {
        if (!std::exchange(who.is_present, false)) return;
        touch(who);
        present_.erase(who.name);
        tell_others(who, "* " + who.name + " left");
    }

    /// The server stops: all leave, and each is told but that.
    void close() {
        const line goodbye = make("* goodbye");
        for (const auto& [name, each] : std::exchange(present_, {})) {
            each->is_present = false;
            say_goodbye(*each, goodbye);
        }
    }

private:
    static line make(std::string text) {
        text += '\n';
        return std::make_shared<const std::string>(std::move(text));
    }

    void tell(member& who, const std::string& text) { deliver(who, make(text)); }

    void tell_others(const member& who, const std::string& text) {
        const line shared = make(text);
        for (const auto& [name, each] : present_) {
            if (each != &who) deliver(*each, shared);
        }
    }

    void deliver(member& who, const line& what) {
        touch(who);
        // Only who has been sent to, and did not take it, is slow.
        if (who.waiting.size() >= most_waiting && who.missed == 0) send(who);
        if (who.waiting.size() >= most_waiting || who.missed != 0) {
            ++who.missed;
        } else {
            who.waiting.push_back(what);
        }
    }

    static void tell_missed(member& who) {
        const std::size_t count = std::exchange(who.missed, 0);
        const char* unit = count == 1 ? " line" : " lines";
        who.waiting.push_back(make("* you missed " + std::to_string(count) + unit));
    }

    // However much waits.
    void say_goodbye(member& who, const line& goodbye) {
        touch(who);
        if (who.missed != 0) tell_missed(who);
        who.waiting.push_back(goodbye);
    }

    // ---- sending

    static ssize_t send_once(member& who) {
        std::array<iovec, 64> parts;
        std::size_t count = 0;
        for (const line& each : who.waiting) {
            if (count == parts.size()) break;
            parts[count++] = {const_cast<char*>(each->data()), each->size()};
        }
        parts[0].iov_base = static_cast<char*>(parts[0].iov_base) + who.sent;
        parts[0].iov_len -= who.sent;
        msghdr message{};
        message.msg_iov = parts.data();
        message.msg_iovlen = count;
        return ::sendmsg(who.socket.get(), &message, MSG_NOSIGNAL);
    }

    static void drop_sent(member& who, std::size_t n) {
        who.sent += n;
        while (!who.waiting.empty() && who.sent >= who.waiting.front()->size()) {
            who.sent -= who.waiting.front()->size();
            who.waiting.pop_front();
        }
    }

    // ---- receiving

    void take(member& who, std::string_view bytes) {
        while (who.is_present) {
            const std::size_t end = bytes.find('\n');
            const std::string_view piece = bytes.substr(0, end);
            // Room for a '\r', and for one byte that shows that the line is too long.
            const std::size_t most = longest_line + 2 - who.partial.size();
            who.partial += piece.substr(0, most);
            if (end == std::string_view::npos) return;
            bytes.remove_prefix(end + 1);
            finish_line(who);
        }
    }

    void finish_line(member& who) {
        std::string text = std::exchange(who.partial, {});
        if (text.ends_with('\r')) text.pop_back();
        if (text.size() > longest_line) return tell(who, "* a line has at most 1000 bytes");
        // They would act on the terminals of the others.
        const auto is_control = [](unsigned char c) { return c < 0x20 || c == 0x7f; };
        std::replace_if(text.begin(), text.end(), is_control, ' ');
        if (text.starts_with('/')) {
            obey(who, text);
        } else if (!text.empty()) {
            tell_others(who, who.name + ": " + text);
        }
    }

    void obey(member& who, std::string_view text) {
        const std::string_view word = text.substr(0, text.find(' '));
        const std::string_view argument = trimmed(text.substr(word.size()));
        if (word == "/nick") {
            rename(who, std::string(argument));
        } else if (word == "/who") {
            tell(who, "* here: " + names());
        } else if (word == "/help") {
            tell(who, "* commands: /nick NAME, /who, /quit, /help");
        } else if (word == "/quit") {
            say_goodbye(who, make("* goodbye"));
            leave(who);
        } else {
            tell(who, "* there is no command " + std::string(word) + "; try /help");
        }
    }

    void rename(member& who, const std::string& name) {
        if (!is_name(name)) return tell(who, "* a name has 1 to 20 letters, digits, - or _");
        if (present_.contains(name)) return tell(who, "* the name " + name + " is taken");
        present_.erase(who.name);
        present_.emplace(name, &who);
        const line news = make("* " + std::exchange(who.name, name) + " is now " + name);
        for (const auto& [each_name, each] : present_) deliver(*each, news);
    }

    std::string names() const {
        std::string result;
        for (const auto& [name, each] : present_) result += (result.empty() ? "" : ", ") + name;
        return result;
    }

    std::map<std::string, member*> present_;  // by name, hence sorted
    std::vector<member*> touched_;
    unsigned long guests_ = 0;
    std::array<char, 16384> buffer_{};
};

/// Reads and forgets what a client has sent since: close() would answer it by a reset, and drop
/// those of the last lines that have not arrived yet.
inline void discard_input(int socket) {
    std::array<char, 16384> buffer;
    for (int i = 0; i < 16; ++i) {
        if (::recv(socket, buffer.data(), buffer.size(), MSG_DONTWAIT) <= 0) return;
    }
}

}  // namespace chat
