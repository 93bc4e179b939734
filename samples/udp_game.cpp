// A game over UDP: the server ticks 30 times a second and sends all positions to all players.
//
//     ./samples/run udp_game                            a server on localhost:8000, until Ctrl-C
//     ./samples/run udp_game --join localhost:8000      a player who walks 60 steps
//
// What a game must bear on a network, and how:
//   * A state (positions at a tick) is whole in one datagram and replaces all before it. One that
//     is lost is not sent again: the next one comes in 33 ms. One that comes late or twice is known
//     by its tick and dropped.
//   * An input (a step) must count once. It has a sequence number; a player sends all steps the
//     server has not yet confirmed, in each datagram, and the server takes what it has not seen.
//   * A server believes no player: who wants to step further than one can walk does not move in
//     that direction, and walls end the world, so that no sum of steps leads out of it, or out of
//     an int.
//   * A player counts what is missing among the ticks, and measures the jitter as RFC 3550 does.
#include "command_line.hpp"

#include <rondo/rondo.hpp>

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <map>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using game_clock = std::chrono::steady_clock;

constexpr auto tick_length = std::chrono::nanoseconds(1s) / 30;
constexpr auto longest_silence = 5s;      // of a player, or of the server
constexpr std::size_t most_players = 64;  // what one datagram holds
constexpr std::size_t most_steps = 32;    // unconfirmed, in one datagram
constexpr int longest_step = 1;           // in each direction
constexpr int wall = 10'000;              // where the world ends, on all four sides

struct step {
    unsigned sequence = 0;
    int dx = 0;
    int dy = 0;
};

// Where a step leads from `place`, in one direction.
int walk(int place, int way) {
    if (way < -longest_step || way > longest_step) return place;
    return std::clamp(place + way, -wall, wall);
}

struct player {
    int id = 0;
    rondo::udp_socket* socket = nullptr;
    unsigned confirmed = 0;  // the last step that was taken
    int x = 0;
    int y = 0;
    game_clock::time_point last_heard;
};

class game_server {
public:
    // input STEPS: "SEQUENCE DX DY" for each, oldest first.
    void take(rondo::udp_socket& socket, const rondo::datagram& data) {
        std::istringstream text{std::string(data.text())};
        std::string word;
        if (!(text >> word) || word != "input") return;
        const auto known = players_.find(data.from());
        if (known == players_.end() && players_.size() == most_players) return;
        player& who = known != players_.end() ? known->second : join(socket, data.from());
        who.last_heard = game_clock::now();
        for (step each; text >> each.sequence >> each.dx >> each.dy;) {
            // The steps before are in the same datagram, if they were not taken already.
            if (each.sequence != who.confirmed + 1) continue;
            who.confirmed = each.sequence;
            who.x = walk(who.x, each.dx);
            who.y = walk(who.y, each.dy);
        }
    }

    // state TICK CONFIRMED, then "ID X Y" for each. What is confirmed and the positions are of one
    // moment, for further steps are taken while a state is being sent.
    rondo::task<> tick() {
        ++tick_;
        forget_the_silent();
        std::string positions;
        std::vector<addressed> heads;
        for (const auto& [where, who] : players_) {
            heads.push_back(
                {where, who.socket, fmt::format("state {} {}", tick_, who.confirmed)});
            positions += fmt::format("\n{} {} {}", who.id, who.x, who.y);
        }
        for (const auto& [where, socket, head] : heads) {
            const std::array<rondo::const_buffer, 2> state = {head, positions};
            // Who cannot be reached falls silent, and is forgotten.
            const auto sent = co_await rondo::as_result(
                socket->send_to(std::span<const rondo::const_buffer>(state), where));
            if (sent.error() == std::errc::operation_canceled) co_return;
        }
    }

private:
    struct addressed {
        rondo::endpoint where;
        rondo::udp_socket* socket;
        std::string text;
    };

    player& join(rondo::udp_socket& socket, const rondo::endpoint& where) {
        player& made = players_[where];
        made.id = ++last_id_;
        made.socket = &socket;
        print("player {} joined from {}", made.id, where);
        return made;
    }

    void forget_the_silent() {
        const auto heard_since = game_clock::now() - longest_silence;
        std::erase_if(players_, [&](const auto& each) {
            const player& who = each.second;
            if (who.last_heard > heard_since) return false;
            print("player {} left at {},{} after {} steps", who.id, who.x, who.y, who.confirmed);
            return true;
        });
    }

    template <typename... Values>
    static void print(fmt::format_string<Values...> format, Values&&... values) {
        fmt::print("{}\n", fmt::format(format, std::forward<Values>(values)...));
        std::fflush(stdout);
    }

    std::map<rondo::endpoint, player> players_;
    int last_id_ = 0;
    unsigned tick_ = 0;
};

rondo::task<> receive_inputs(game_server& game, rondo::udp_socket& socket) {
    for (;;) {
        const rondo::datagram data = co_await socket.recv_from();
        game.take(socket, data);
    }
}

rondo::task<> tick_for_ever(game_server& game) {
    for (auto next = game_clock::now();; next += tick_length) {
        co_await rondo::sleep_until(next);
        co_await game.tick();
    }
}

rondo::task<> serve(std::string where) {
    std::vector<rondo::udp_socket> sockets = rondo::udp_socket::bind_all(where);
    for (const auto& each : sockets) fmt::print("listening on {}\n", each.local_endpoint());
    std::fflush(stdout);
    game_server game;
    co_await rondo::with_task_group([&](rondo::task_group& group) -> rondo::task<> {
        for (auto& each : sockets) group.spawn(receive_inputs, std::ref(game), std::ref(each));
        co_await tick_for_ever(game);
    });
}

// --- a player ------------------------------------------------------------------------------------

class game_client {
public:
    game_client(const rondo::endpoint& server, unsigned steps)
        : socket_(server.address().is_v4() ? rondo::ip_version::v4 : rondo::ip_version::v6),
          steps_(steps) {
        socket_.connect(server);
    }

    // Ends when the server has confirmed all steps.
    rondo::task<> play() { co_await rondo::when_any(receive_states(), send_inputs()); }

    std::string report() const {
        const unsigned expected = last_tick_ - first_tick_ + 1;
        const unsigned lost = expected - in_order_ - late_;
        return fmt::format("{} steps confirmed, at {},{}; {} states, {} lost ({:.1f} %), {} late, "
                           "{} doubled; jitter {:.1f} ms",
                           confirmed_, x_, y_, in_order_, lost, 100.0 * lost / expected, late_,
                           doubled_, jitter_ * 1000);
    }

private:
    // One new step in a tick, to the right and down, by turns; those on their way with it.
    rondo::task<> send_inputs() {
        unsigned taken = 0;
        for (auto next = game_clock::now();; next += tick_length) {
            co_await rondo::sleep_until(next);
            if (taken < steps_ && unconfirmed_.size() < most_steps) {
                ++taken;
                unconfirmed_.push_back({taken, static_cast<int>(taken % 2),
                                        static_cast<int>((taken + 1) % 2)});
            }
            std::string text = "input";
            for (const step& each : unconfirmed_) {
                text += fmt::format("\n{} {} {}", each.sequence, each.dx, each.dy);
            }
            co_await socket_.send(text);
        }
    }

    rondo::task<> receive_states() {
        while (confirmed_ < steps_) {
            auto data =
                co_await rondo::as_result(rondo::with_timeout(longest_silence, socket_.recv()));
            if (data.error() == std::errc::timed_out) {
                throw std::runtime_error("the server is silent: it is gone, or all was lost");
            }
            take(std::string(data.value().text()));
        }
    }

    void take(const std::string& state) {
        std::istringstream text(state);
        std::string word;
        unsigned tick = 0;
        unsigned confirmed = 0;
        if (!(text >> word >> tick >> confirmed) || word != "state") return;
        if (first_tick_ == 0) first_tick_ = tick;
        if (tick <= last_tick_) return count_old(tick);
        measure_jitter(tick);
        last_tick_ = tick;
        ++in_order_;
        seen_.insert(tick);
        confirmed_ = confirmed;
        while (!unconfirmed_.empty() && unconfirmed_.front().sequence <= confirmed) {
            x_ = walk(x_, unconfirmed_.front().dx);
            y_ = walk(y_, unconfirmed_.front().dy);
            unconfirmed_.pop_front();
        }
        check_position(text);
    }

    // Where the server sees us must be where we have gone: every step once, none twice.
    void check_position(std::istringstream& positions) const {
        int id = 0;
        int x = 0;
        int y = 0;
        bool here = false;
        while (positions >> id >> x >> y) here = here || (x == x_ && y == y_);
        if (!here) throw std::runtime_error("the server has lost our steps");
    }

    void count_old(unsigned tick) {
        const bool is_new = tick >= first_tick_ && seen_.insert(tick).second;
        ++(is_new ? late_ : doubled_);
    }

    // How much the time between two states differs from that between their ticks, smoothed
    // (RFC 3550, 6.4.1).
    void measure_jitter(unsigned tick) {
        const auto now = game_clock::now();
        if (in_order_ != 0) {
            const std::chrono::duration<double> apart = now - last_arrival_;
            const std::chrono::duration<double> meant = (tick - last_tick_) * tick_length;
            jitter_ += (std::abs((apart - meant).count()) - jitter_) / 16;
        }
        last_arrival_ = now;
    }

    rondo::udp_socket socket_;
    unsigned steps_;
    std::deque<step> unconfirmed_;
    unsigned confirmed_ = 0;
    int x_ = 0;
    int y_ = 0;
    unsigned first_tick_ = 0;
    unsigned last_tick_ = 0;
    unsigned in_order_ = 0;
    unsigned late_ = 0;
    unsigned doubled_ = 0;
    std::set<unsigned> seen_;  // ticks
    double jitter_ = 0;        // seconds
    game_clock::time_point last_arrival_;
};

rondo::task<> play_at(rondo::endpoint server, unsigned steps) {
    game_client client(server, steps);
    co_await client.play();
    fmt::print("{}\n", client.report());
}

// Nobody is there, or no way leads there, as to an IPv6 address where IPv6 is off.
bool is_out_of_reach(const std::error_code& error) {
    return error == std::errc::connection_refused ||
           error == std::errc::address_not_available ||
           error == std::errc::address_family_not_supported ||
           error == std::errc::network_unreachable;
}

rondo::task<> join(std::string where, unsigned steps) {
    const std::vector<rondo::endpoint> servers = co_await rondo::resolve(where);
    for (std::size_t i = 0;; ++i) {
        auto played = co_await rondo::as_result(play_at(servers[i], steps));
        if (played) co_return;
        const bool is_last = i + 1 == servers.size();
        if (is_last || !is_out_of_reach(played.error())) played.value();  // throws
    }
}

int main(int argc, char** argv) {
    std::string where = "localhost:8000";
    std::string server;
    unsigned steps = 60;
    command_line line("A game server, or with --join a player of it.");
    line.add("HOST:PORT", where, "where the server receives");
    line.add("--join", server, "play at this server instead").takes("HOST:PORT");
    line.add("--steps", steps, "how far the player walks").positive();
    line.parse(argc, argv);
    return rondo::run_main(server.empty() ? serve(where) : join(server, steps));
}
