// A network of a test's own, in a child process, with the names and routes that it wants.
#pragma once

#include <functional>
#include <string>

namespace rondo::test {

/// Whether this process may have one; else a test is to be skipped, with this reason.
bool may_have_private_network();
inline constexpr const char* no_private_network =
    "needs a network namespace, which takes root or unprivileged user namespaces";

/// Whether ip(8) is there.
bool may_change_routes();

/// Runs `program` in a child whose network holds nothing but the loopback interface. Returns what
/// it wrote by say(), or throws with its error output where it returned something else than 0.
std::string in_private_network(const std::function<int()>& program);

// --- in such a child; each throws where it fails ---

/// Runs a command of the shell.
void shell(const std::string& command);
/// Others see the file as it was.
void replace_file(const std::string& path, const std::string& text);

}  // namespace rondo::test
