// The test kit's scripts: what is sent as expected passes, however it is cut; the first byte that
// is not is told; answers arrive whole.
#include <fuzz/fuzz.hpp>
#include <fuzz/plain_loop.hpp>

#include <rondo/testing/scripted_stream.hpp>

#include <optional>
#include <string>

namespace rondo::fuzz {

namespace {

struct exchange {
    std::string asked;
    std::string answered;
};

// Sends `text` in pieces whose sizes are the input's. What leaves the script is told by true.
task<bool> send_in_pieces(testing::scripted_stream& to, std::string_view text, input& sizes) {
    while (!text.empty()) {
        const std::string_view piece = text.substr(0, 1 + sizes.below(8));
        text.remove_prefix(piece.size());
        bool left = false;
        try {
            co_await to.send(piece);
        } catch (const testing::script_error&) {
            left = true;
        }
        if (left) co_return true;
    }
    co_return false;
}

task<> receive_all(testing::scripted_stream& from, std::string_view expected, input& sizes) {
    while (!expected.empty()) {
        std::string room(1 + sizes.below(8), '\0');
        std::size_t n = 0;
        if (room.size() % 2 == 0) {
            const auto lease = co_await from.recv();
            room = lease.text();
            n = room.size();
        } else {
            n = co_await from.recv(std::as_writable_bytes(std::span(room)));
        }
        check(n != 0 && expected.starts_with(std::string_view(room).substr(0, n)),
              "an answer is not what the script says");
        expected.remove_prefix(n);
    }
}

task<> play(input in) {
    testing::scripted_stream stream;
    exchange exchanges[3];
    unsigned count = 1 + in.below(3);
    for (unsigned i = 0; i != count; ++i) {
        exchanges[i].asked = "?" + std::string(in.text(in.below(16)));
        exchanges[i].answered = "!" + std::string(in.text(in.below(16)));
        stream.expect(exchanges[i].asked);
        stream.answer_in_pieces(exchanges[i].answered, 1 + in.below(8));
    }
    const unsigned wrong_byte = in.byte();
    bool left = false;
    bool is_wrong = false;
    for (unsigned i = 0; i != count && !left; ++i) {
        std::string sent = exchanges[i].asked;
        if (i == 1 && wrong_byte < sent.size()) {
            sent[wrong_byte] = static_cast<char>(sent[wrong_byte] ^ 1);
            is_wrong = true;
        }
        left = co_await send_in_pieces(stream, sent, in);
        if (!left) co_await receive_all(stream, exchanges[i].answered, in);
    }
    check(left == is_wrong, "a script is left by what it expects, or not by what it does not");
    bool refused = false;
    try {
        stream.verify();
    } catch (const testing::script_error&) {
        refused = true;
    }
    check(refused == is_wrong, "verify() and what was sent differ");
    check(stream.leases_held() == 0, "a lease is not given back");
}

}  // namespace

void feed_scripted_stream(input in) { plain_loop().run(play(in)); }

}  // namespace rondo::fuzz
