// The live tasks of a loop as text: the first thing to look at when a program hangs.
#pragma once

#include <string>
#include <string_view>

namespace rondo::inline v0 {

class event_loop;

/// Every live task as a tree, children below the task that joins them, two lines or more for each:
///
///     connection: recv from 127.0.0.1:52436, for 3.2 s
///         echo at samples/echo_server.cpp:13
///
/// First its name (context::set_name(), else the function it began with), what it waits for and
/// since when, as exact as the kernel's coarse clock (some milliseconds); then function, file and
/// line of the co_await, and of those that led there, innermost first. Lines in the library itself
/// are left out, unless a task and those above it have no others. To be called on the loop's
/// thread, between tasks or by one; a task that runs or is ready is said to be so.
std::string dump_tasks(const event_loop& loop);

namespace detail {

/// The function in what the compiler says it is: `echo` of `rondo::task<> echo(tcp_socket)`. GCC
/// names the coroutine's frame in some places: `void echo(echo(tcp_socket)::_Z4echo...Frame*)`.
std::string function_of(std::string text);

/// Whether a path, as the compiler names it, is one of the library's files.
bool in_library(std::string_view file);

}  // namespace detail

}  // namespace rondo::inline v0
