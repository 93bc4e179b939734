// Members of a chat: some say lines, and each of these is checked wherever it is delivered.
#include "profiles.hpp"
#include "room_line.hpp"

#include <rondo/rondo.hpp>

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <stdexcept>

namespace load {

using namespace std::chrono_literals;

namespace {

constexpr unsigned most_senders = 8;

struct member : connection {
    using connection::connection;

    rondo::event joined;
    std::array<std::uint32_t, most_senders> next{};  // the number of each sender's next line
    std::uint64_t may_miss = 0;  // lines that the chat says it has dropped; notices, too
    std::uint64_t missed = 0;    // lines that are known to be missing, by the number of the next
    std::uint32_t said = 0;
    std::size_t undelivered = 0;  // members that the last line has not come to
    rondo::event delivered;
};

struct room {
    explicit room(session& of)
        : all(&of), form(of.chosen.size),
          senders(std::clamp(of.chosen.connections / 8, 1u, most_senders)) {}

    session* all;
    line_form form;
    unsigned senders;
    std::uint64_t said = 0;
    std::deque<member> members;
};

[[noreturn]] void fail(const member& who, std::string_view what, std::string_view line) {
    throw std::runtime_error(fmt::format("member {}: {}: \"{}\"", who.bytes.connection(), what,
                                         line.substr(0, 60)));
}

// What the chat itself says, by the protocol of samples/README.md.
void take_notice(room& in, member& who, std::string_view line) {
    constexpr std::string_view missed = "* you missed ";
    if (line.starts_with("* welcome, ")) {
        who.joined.set();
    } else if (line.starts_with(missed)) {
        // In a closed loop few lines are under way: on a busy machine a member misses who has
        // joined. A line that was said and is missing is found by its number, or by silence.
        if (in.all->chosen.rate == 0) return;
        std::uint64_t count = 0;
        std::from_chars(line.data() + missed.size(), line.data() + line.size(), count);
        who.may_miss += count;
    } else if (!line.ends_with(" joined")) {
        fail(who, "the chat says", line);
    }
}

void take_line(room& in, member& who, std::string_view line) {
    if (line.starts_with("* ")) return take_notice(in, who, line);
    const std::size_t colon = line.find(": ");
    if (colon == std::string_view::npos) fail(who, "without a sender", line);
    const auto said = in.form.read(line.substr(colon + 2));
    if (!said || said->sender >= in.senders) fail(who, "not a line that was said", line);
    if (said->sender == who.bytes.connection()) fail(who, "its own line has come back", line);
    std::uint32_t& expected = who.next[said->sender];
    const std::uint64_t skipped = std::uint64_t{said->number} - expected;
    if (said->number < expected || skipped > who.may_miss)
        fail(who, fmt::format("not line {} of its sender", expected), line);
    who.may_miss -= skipped;
    who.missed += skipped;
    in.all->measured.lost += skipped;
    expected = said->number + 1;
    ++who.lines;
    in.all->measured.count(clock::now(), in.all->start + said->intended);
    member& sender = in.members[said->sender];
    if (in.all->chosen.rate == 0 && --sender.undelivered == 0) sender.delivered.set();
}

rondo::task<> listen(room& in, member& who) {
    rondo::buffered_reader reader(who.socket);
    for (;;) {
        const auto line = co_await reader.read_line();
        if (!line) fail(who, "the chat has ended early", "");
        take_line(in, who, *line);
    }
}

rondo::task<> join(room& in, rondo::task_group& listeners, std::size_t index) {
    member& who = in.members[index];
    who.socket = co_await in.all->server.connect(index);
    listeners.spawn(listen, std::ref(in), std::ref(who));
    co_await who.joined.wait();
}

// In a closed loop the next line is said when the last one has come to all.
rondo::task<> talk(room& in, member& who) {
    for (;;) {
        const clock::time_point intended = co_await next_sending(*in.all, who);
        who.undelivered = in.members.size() - 1;
        who.delivered.reset();
        room_line line;
        line.sender = who.bytes.connection();
        line.number = who.said++;
        line.intended = intended - in.all->start;
        const std::string text = in.form.write(line);
        ++in.said;
        co_await who.socket.send(text);
        if (in.all->chosen.rate == 0) co_await who.delivered.wait();
    }
}

rondo::task<> note_who_waits(room& in) {
    for (;;) {
        for (member& each : in.members)
            each.waiting = in.said - each.said > each.lines + each.missed;
        co_await rondo::sleep_for(500ms);
    }
}

// A line is due to each member but who says it.
void count_overdue(const room& in) {
    for (const member& who : in.members)
        for (unsigned i = 0; i < in.senders; ++i)
            if (i != who.bytes.connection())
                in.all->measured.count_overdue(in.members[i].schedule, who.next[i]);
}

}  // namespace

rondo::task<> run_room(session& all) {
    room in(all);
    all.count_overdue = [&in] { count_overdue(in); };
    for (unsigned i = 0; i < all.chosen.connections; ++i)
        all.watched.push_back(&in.members.emplace_back(i));
    co_await rondo::with_task_group([&](rondo::task_group& listeners) -> rondo::task<> {
        co_await open_gently(all, in.members.size(), [&](std::size_t i) {
            return join(in, listeners, i);
        });
        co_await measure(all, [&](rondo::task_group& group) {
            for (unsigned i = 0; i < in.senders; ++i) {
                member& who = in.members[i];
                const double lines = all.chosen.rate / static_cast<double>(in.members.size() - 1);
                if (lines > 0) who.schedule = pace(lines, i, in.senders, all.start);
                group.spawn(talk, std::ref(in), std::ref(who));
            }
            group.spawn(note_who_waits, std::ref(in));
        });
        listeners.cancel();
    });
}

}  // namespace load
