#include <rondo/sync/channel_closed.hpp>

namespace rondo::inline v0 {

channel_closed::channel_closed()
    : std::system_error(std::make_error_code(std::errc::broken_pipe),
                        "send: the channel is closed") {}

channel_closed::~channel_closed() = default;

namespace detail {
void throw_channel_closed() { throw channel_closed(); }
}  // namespace detail

}  // namespace rondo::inline v0
