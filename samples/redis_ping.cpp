// A database client: PING, SET and GET in Redis' protocol. The library hiredis writes commands and
// reads replies but does no I/O of its own here; the bytes between travel through rondo.
//
//     redis-server --port 6379                                    the database
//     ./samples/run redis_ping                                    localhost:6379
//     ./samples/run redis_ping localhost:6379 colour "light blue"
#include "command_line.hpp"
#include "printable.hpp"

#include <rondo/rondo.hpp>

#include <fmt/core.h>

#include <hiredis.h>

#include <chrono>
#include <memory>
#include <new>
#include <stdexcept>

using namespace std::chrono_literals;

using redis_reader = std::unique_ptr<redisReader, decltype(&redisReaderFree)>;
using redis_reply = std::unique_ptr<redisReply, decltype(&freeReplyObject)>;

class redis_client {
public:
    explicit redis_client(rondo::tcp_socket server)
        : server_(std::move(server)), reader_(redisReaderCreate(), redisReaderFree) {}

    // As printf: %s stands for a string, which may hold blanks.
    template <typename... Arguments>
    rondo::task<redis_reply> command(const char* format, Arguments... arguments) {
        char* text = nullptr;
        const int size = redisFormatCommand(&text, format, arguments...);
        if (size < 0) throw std::bad_alloc();
        const std::unique_ptr<char, decltype(&redisFreeCommand)> owner(text, redisFreeCommand);
        co_await server_.send(std::string_view(text, static_cast<std::size_t>(size)));
        redis_reply answer = co_await reply();
        if (answer->type == REDIS_REPLY_ERROR) throw std::runtime_error(answer->str);
        if (answer->str == nullptr && answer->type != REDIS_REPLY_NIL) {
            throw std::runtime_error("the server's reply is not a text");
        }
        co_return answer;
    }

private:
    // A reply comes in as many pieces as the network likes; the reader puts it together.
    rondo::task<redis_reply> reply() {
        for (;;) {
            void* complete = nullptr;
            check(redisReaderGetReply(reader_.get(), &complete));
            if (complete != nullptr) {
                redis_reply made(static_cast<redisReply*>(complete), freeReplyObject);
                co_return made;
            }
            auto data = co_await server_.recv();
            if (!data) throw std::runtime_error("the server closed the connection too early");
            check(redisReaderFeed(reader_.get(), data.text().data(), data.size()));
        }
    }
    void check(int outcome) const {
        if (outcome != REDIS_OK) throw std::runtime_error(reader_->errstr);
    }

    rondo::tcp_socket server_;
    redis_reader reader_;
};

void print(std::string_view command, const redisReply& reply) {
    if (reply.type == REDIS_REPLY_NIL) {
        fmt::print("{} -> nothing\n", command);
    } else {
        fmt::print("{} -> {}\n", command, printable(std::string_view(reply.str, reply.len)));
    }
}

rondo::task<> talk(std::string where, std::string key, std::string value) {
    redis_client redis(co_await rondo::tcp_connect(where));
    redis_reply reply = co_await redis.command("PING");
    print("PING", *reply);
    reply = co_await redis.command("SET %s %s", key.c_str(), value.c_str());
    print(fmt::format("SET {} \"{}\"", key, value), *reply);
    reply = co_await redis.command("GET %s", key.c_str());
    print("GET " + key, *reply);
}

int main(int argc, char** argv) {
    std::string where = "localhost:6379";
    std::string key = "greeting";
    std::string value = "Hello from rondo!";
    command_line line("Asks a Redis server whether it is there, stores VALUE under KEY and reads "
                      "it.");
    line.add("HOST:PORT", where, "the server");
    line.add("KEY", key, "the name to store it under");
    line.add("VALUE", value, "what to store");
    line.parse(argc, argv);

    return rondo::run_main(rondo::with_timeout(10s, talk(where, key, value)));
}
