#include <rondo/net/unix_serve.hpp>

namespace rondo::inline v0::detail {

unix_server::unix_server(context& here, unix_serve_options options)
    : stream_server(here, {.max_connections = options.max_connections,
                           .end_on_reset = options.end_on_reset,
                           .remember_peers = false,
                           .on_failure = std::move(options.on_failure),
                           .stats = options.stats}),
      options_(std::move(options)) {}

void unix_server::open(const unix_address& local) {
    open(unix_listener::listen(
        local, {.backlog = options_.backlog, .permissions = options_.permissions}));
}

void unix_server::open(unix_listener listener) {
    listener_ = std::move(listener);
    accept_through(listener_);
    if (options_.on_listening) options_.on_listening(listener_.local_address());
}

void unix_server::close_listeners() noexcept {
    forget_listeners();
    listener_ = unix_listener();
}

}  // namespace rondo::inline v0::detail
