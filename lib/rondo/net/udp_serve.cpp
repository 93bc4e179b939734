#include <rondo/log.hpp>
#include <rondo/net/socket_error.hpp>
#include <rondo/net/udp_serve.hpp>
#include <rondo/task/operation_canceled.hpp>
#include <rondo/task/sleep.hpp>

#include <cerrno>
#include <chrono>
#include <string>

namespace rondo::inline v0::detail {

using namespace std::chrono_literals;

namespace {

// What the network answers to something sent before; only a connected socket is told.
bool is_about_an_answer(const std::error_code& error) {
    switch (error.value()) {
        case ECONNREFUSED:
        case EHOSTUNREACH:
        case ENETUNREACH:
        case EHOSTDOWN:
        case EPROTO:
        case ENOPROTOOPT: return true;
        default: return false;
    }
}

bool is_out_of_memory(const std::error_code& error) {
    return error.value() == ENOMEM || error.value() == ENOBUFS;
}

void log_failure(const std::exception_ptr& failure) {
    try {
        std::rethrow_exception(failure);
    } catch (const std::exception& error) {
        log(std::string("a datagram was not handled: ") + error.what());
    } catch (...) {
        log("a datagram was not handled: an exception that is no std::exception");
    }
}

}  // namespace

void udp_server::open(std::string_view host_port) {
    sockets_ = udp_socket::bind_all(host_port);
    listening();
}

void udp_server::open(const endpoint& local) { open(udp_socket::bind(local)); }

void udp_server::open(udp_socket socket) {
    sockets_.push_back(std::move(socket));
    listening();
}

void udp_server::listening() {
    if (!options_.on_listening) return;
    std::vector<endpoint> locals;
    for (const udp_socket& each : sockets_) locals.push_back(each.local_endpoint());
    options_.on_listening(locals);
}

task<bool> udp_server::goes_on(udp_socket& socket, std::error_code error) {
    if (error == std::errc::operation_canceled) {
        if (stopping_) co_return false;
        throw_canceled();
    }
    const endpoint local = socket.local_endpoint();
    const socket_error failure("recv_from", error.value(), &local);
    if (!is_about_an_answer(error) && !is_out_of_memory(error)) throw failure;
    failed(std::make_exception_ptr(failure));
    if (is_out_of_memory(error)) co_await sleep_for(5ms);
    co_return true;
}

void udp_server::failed(const std::exception_ptr& failure) noexcept {
    if (is_canceled(failure)) return;
    try {
        if (options_.on_failure) {
            options_.on_failure(failure);
        } else {
            log_failure(failure);
        }
    } catch (...) {
        log("the hook for failed datagrams has thrown");
    }
}

void udp_server::begin_stop() noexcept {
    stopping_ = true;
    for (udp_socket& each : sockets_) each.finish_receiving();
}

}  // namespace rondo::inline v0::detail
