#include <rondo/net/tcp_state.hpp>

#include <fmt/format.h>

auto fmt::formatter<rondo::tcp_state>::format(rondo::tcp_state state,
                                              fmt::format_context& context) const
    -> fmt::format_context::iterator {
    const std::string_view name = to_string(state);
    return fmt::formatter<fmt::string_view>::format({name.data(), name.size()}, context);
}
