// The kinds of load. Each opens what it needs, measures, and leaves its figures in the session.
#pragma once

#include "session.hpp"

namespace load {

rondo::task<> run_ping_pong(session& all);

}  // namespace load
