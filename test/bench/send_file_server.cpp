// The same as blocking_sendfile on rondo.
//
//   send_file_server PORT FILE       sends FILE to whoever connects to 127.0.0.1:PORT
#include <rondo/rondo.hpp>

#include <cstdio>
#include <string>

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: %s PORT FILE\n", argv[0]);
        return 2;
    }
    const std::string path = argv[2];
    const auto send_all = [&path](rondo::tcp_socket client) -> rondo::task<> {
        rondo::file source = co_await rondo::file::open(path);
        co_await rondo::send_file(client, source);
    };
    return rondo::run_main(
        rondo::tcp_serve(std::string("127.0.0.1:") + argv[1], std::ref(send_all)));
}
