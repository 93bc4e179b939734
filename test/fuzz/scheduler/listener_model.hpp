// What must come out of a listener: each connection that was established, once, and no other.
#pragma once

#include <fuzz/fuzz.hpp>

#include <rondo/net/unix.hpp>

#include <unistd.h>

#include <charconv>
#include <cstddef>
#include <string>
#include <vector>

namespace rondo::fuzz {

/// A listening socket and who has connected to it. Each client has a name, by which its connection
/// is known when it is accepted, even if the client is gone by then.
class front_door {
public:
    unix_listener socket;
    bool accepting = false;
    bool leaving = false;
    unsigned interruptions = 0;

    bool is_open() const noexcept { return socket.is_open(); }
    unsigned generation() const noexcept { return generation_; }
    const unix_address& address() const noexcept { return address_; }

    void open() {
        ++generation_;
        clients_.clear();
        socket = unix_listener::listen("*");
        address_ = socket.local_address();
    }

    /// Begins to connect: returns a name for the client.
    unix_address announce(std::size_t& client) {
        client = clients_.size();
        clients_.push_back({});
        return *unix_address::abstract(prefix() + std::to_string(client));
    }
    /// How it ended, of a client of this generation.
    void connected(std::size_t client) { clients_[client].was_told = true; }

    void accepted(const unix_address& from) {
        const std::string before = prefix();
        const std::string_view name = from.name();
        check(name.starts_with(before), "a connection is accepted that is not of this listener");
        std::size_t client = clients_.size();
        std::from_chars(name.data() + before.size(), name.data() + name.size(), client);
        check(client < clients_.size(), "a connection is accepted that nobody has begun");
        check(!clients_[client].was_accepted, "a connection is accepted twice");
        clients_[client].was_accepted = true;
    }
    /// Connections that their clients know of, and nobody has accepted.
    bool has_waiting() const noexcept {
        return std::ranges::any_of(clients_, [](const client_state& each) {
            return each.was_told && !each.was_accepted;
        });
    }

private:
    struct client_state {
        bool was_told = false;  // that it is connected
        bool was_accepted = false;
    };

    std::string prefix() const {
        return "rondo-fuzz-" + std::to_string(::getpid()) + '-' + std::to_string(generation_) + '-';
    }

    unix_address address_;
    unsigned generation_ = 0;
    std::vector<client_state> clients_;
};

}  // namespace rondo::fuzz
