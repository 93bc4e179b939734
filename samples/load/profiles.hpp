// The kinds of load. Each opens what it needs, measures, and leaves its figures in the session.
#pragma once

#include "session.hpp"

#include <deque>

namespace load {

rondo::task<> run_ping_pong(session& all);
rondo::task<> run_stream(session& all);
rondo::task<> run_idle(session& all);
rondo::task<> run_short(session& all);
rondo::task<> run_room(session& all);
rondo::task<> run_udp(session& all);

// A message and its echo over `mine`, again and again.
rondo::task<> ping_pong(session& all, connection& mine);

// Connections 0 to `count` - 1, open. They are not watched yet.
rondo::task<> open_connections(session& all, std::deque<connection>& made, unsigned count);

}  // namespace load
