#include <rondo/stream/buffered_reader.hpp>

#include <rondo/stream/stream_error.hpp>
#include <rondo/task/cancel_scope.hpp>
#include <rondo/task/result.hpp>
#include <rondo/task/when_all.hpp>
#include <rondo/task/when_any.hpp>
#include <rondo/task/with_timeout.hpp>
#include <rondo/testing/scripted_stream.hpp>

#include <support/eventually.hpp>
#include <support/harness.hpp>
#include <support/raw_peer.hpp>
#include <support/stream_pairs.hpp>
#include <support/thrown_by.hpp>
#include <support/without_leases.hpp>

#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include <string>
#include <string_view>
#include <vector>

using namespace rondo;
using namespace rondo::test;
using rondo::testing::scripted_stream;

namespace {

using texts = std::vector<std::string>;

// A scripted_stream as it is, and one that can only fill a buffer.
struct leased {
    scripted_stream script;
    scripted_stream& stream() { return script; }
};
struct copied {
    scripted_stream script;
    without_leases<scripted_stream> bare{script};
    without_leases<scripted_stream>& stream() { return bare; }
};

// `text` in two pieces, then the end.
void script_split(scripted_stream& script, std::string_view text, std::size_t at) {
    if (at != 0) script.answer(std::string(text.substr(0, at)));
    if (at != text.size()) script.answer(std::string(text.substr(at)));
    script.end();
}

template <typename Reader>
task<texts> read_lines(Reader& reader) {
    texts lines;
    while (auto line = co_await reader.read_line()) lines.emplace_back(*line);
    co_return lines;
}

texts lines_of(std::string_view text) {
    texts lines;
    while (!text.empty()) {
        const std::size_t end = text.find('\n');
        std::string_view line = text.substr(0, end);
        if (end != text.npos && line.ends_with('\r')) line.remove_suffix(1);
        lines.emplace_back(line);
        text.remove_prefix(end == text.npos ? text.size() : end + 1);
    }
    return lines;
}

template <typename Reader>
task<texts> read_records(Reader& reader, std::string_view delimiter) {
    texts records;
    while (auto record = co_await reader.read_until(delimiter)) records.emplace_back(*record);
    co_return records;
}

texts records_of(std::string_view text, std::string_view delimiter) {
    texts records;
    for (;;) {
        const std::size_t at = text.find(delimiter);
        if (at == text.npos) return records;
        records.emplace_back(text.substr(0, at + delimiter.size()));
        text.remove_prefix(at + delimiter.size());
    }
}

// Lets what waits come to its waiting.
task<> a_moment() {
    for (int i = 0; i < 4; ++i) co_await yield();
}

// Whether `operation` was still waiting when it was cancelled.
template <awaitable A>
task<bool> cancelled_while_waiting(A&& operation) {
    const auto [value, over] = co_await when_any(std::forward<A>(operation), a_moment());
    co_return !value.has_value();
}

}  // namespace

TEMPLATE_TEST_CASE("read_line finds the same lines wherever the input is cut and ends",
                   "[stream][buffered_reader]", leased, copied) {
    test::run([]() -> task<> {
        for (const std::string whole : {"one\ntwo\r\n\n\r\nlast", "\r\r\n\n\r", "a\rb\n\r\n"}) {
            for (std::size_t size = 0; size <= whole.size(); ++size) {
                const std::string text = whole.substr(0, size);
                for (std::size_t at = 0; at <= size; ++at) {
                    CAPTURE(text, at);
                    TestType source;
                    script_split(source.script, text, at);
                    buffered_reader reader(source.stream());
                    const texts lines = co_await read_lines(reader);
                    CHECK(lines == lines_of(text));
                    source.script.verify();
                }
                TestType source;
                source.script.answer_in_pieces(text, 1).end();
                buffered_reader reader(source.stream());
                const texts lines = co_await read_lines(reader);
                CHECK(lines == lines_of(text));
            }
        }
    });
}

TEMPLATE_TEST_CASE("read_until finds the same records wherever the input is cut",
                   "[stream][buffered_reader]", leased, copied) {
    test::run([]() -> task<> {
        const std::vector<std::pair<std::string, std::string>> table = {
            {"ab;c;;", ";"},
            {"head: 1\r\nb\r\r\n\r\n\r\nbody\r\n\r\n", "\r\n\r\n"},
            {"aaabaabaaab", "aab"},
            {"xabababyabab", "abab"},
        };
        for (const auto& [text, delimiter] : table) {
            for (std::size_t at = 0; at <= text.size(); ++at) {
                for (const std::size_t size : {std::size_t(0), std::size_t(1), std::size_t(2)}) {
                    CAPTURE(text, at, size);
                    TestType source;
                    if (size == 0) {
                        script_split(source.script, text, at);
                    } else {
                        source.script.answer_in_pieces(text, size).end();
                    }
                    buffered_reader reader(source.stream());
                    texts got;
                    for (const std::string& expected : records_of(text, delimiter)) {
                        auto record = co_await reader.read_until(delimiter);
                        REQUIRE(record);
                        CHECK(*record == expected);
                    }
                }
            }
        }
    });
}

TEST_CASE("read_until at the end of the stream returns nothing, or tells of what was begun",
          "[stream][buffered_reader]") {
    test::run([]() -> task<> {
        scripted_stream script;
        script.answer("a;").answer("re").answer("st").end();
        buffered_reader reader(script);
        auto first = co_await reader.read_until(";");
        CHECK(first == "a;");
        std::string text;
        try {
            co_await reader.read_until(";");
        } catch (const unexpected_end& error) {
            CHECK(error.code() == stream_errc::unexpected_end);
            text = error.what();
        }
        CHECK(text == "read_until: the stream ended after 4 bytes, before a delimiter");
        auto rest = co_await reader.recv();
        CHECK(rest.text() == "rest");
        auto end = co_await reader.read_until(";");
        CHECK_FALSE(end);
    });
}

TEMPLATE_TEST_CASE("both forms of read_exactly return the same wherever the input is cut",
                   "[stream][buffered_reader]", leased, copied) {
    test::run([]() -> task<> {
        const std::string text = "0123456789";
        for (std::size_t at = 0; at <= text.size(); ++at) {
            for (std::size_t first = 0; first <= text.size(); ++first) {
                CAPTURE(at, first);
                TestType source;
                script_split(source.script, text, at);
                buffered_reader reader(source.stream());
                auto head = co_await reader.read_exactly(first);
                CHECK(head.text() == text.substr(0, first));
                std::string tail(text.size() - first, '\0');
                co_await reader.read_exactly(std::as_writable_bytes(std::span(tail)));
                CHECK(tail == text.substr(first));
                auto end = co_await reader.recv();
                CHECK_FALSE(end);
                source.script.verify();
            }
        }
    });
}

TEST_CASE("read_exactly tells how far it came before the end, and takes nothing",
          "[stream][buffered_reader]") {
    test::run([]() -> task<> {
        for (const bool into_buffer : {false, true}) {
            scripted_stream script;
            script.answer("01").answer("2").end();
            buffered_reader reader(script);
            std::string buffer(5, '\0');
            std::string text;
            try {
                if (into_buffer) {
                    co_await reader.read_exactly(std::as_writable_bytes(std::span(buffer)));
                } else {
                    co_await reader.read_exactly(5);
                }
            } catch (const unexpected_end& error) {
                CHECK(error.transferred() == 0);
                text = error.what();
            }
            CHECK(text == "read_exactly: the stream ended after 3 of 5 bytes");
            CHECK(reader.buffered().text() == "012");
            auto rest = co_await reader.read_exactly(3);
            CHECK(rest.text() == "012");
        }
    });
}

TEMPLATE_TEST_CASE("recv of a reader delivers what is buffered before it asks the stream",
                   "[stream][buffered_reader]", leased, copied) {
    test::run([]() -> task<> {
        TestType source;
        source.script.answer("line\nab").answer("cd").answer("ef").end();
        buffered_reader reader(source.stream());
        STATIC_REQUIRE(lease_stream<decltype(reader)>);
        auto line = co_await reader.read_line();
        CHECK(line == "line");
        std::string buffer(1, '\0');
        auto n = co_await reader.recv(std::as_writable_bytes(std::span(buffer)));
        CHECK(n == 1);
        CHECK(buffer == "a");
        auto rest = co_await reader.recv();
        CHECK(rest.text() == "b");
        auto next = co_await reader.recv();
        CHECK(next.text() == "cd");
        n = co_await reader.recv(std::as_writable_bytes(std::span(buffer)));
        CHECK(n == 1);
        CHECK(buffer == "e");
        auto last = co_await reader.recv();
        CHECK(last.text() == "f");
        n = co_await reader.recv(std::as_writable_bytes(std::span(buffer)));
        CHECK(n == 0);
        auto end = co_await reader.recv();
        CHECK_FALSE(end);
    });
}

TEST_CASE("peek leaves what it shows unread, and the end of the stream cuts it short",
          "[stream][buffered_reader]") {
    test::run([]() -> task<> {
        const std::string text = "GET /\nx";
        for (std::size_t at = 0; at <= text.size(); ++at) {
            scripted_stream script;
            script_split(script, text, at);
            buffered_reader reader(script, 8);
            auto method = co_await reader.peek(3);
            CHECK(method.text() == "GET");
            auto line = co_await reader.read_line();
            CHECK(line == "GET /");
            auto rest = co_await reader.peek(8);
            CHECK(rest.text() == "x");
            auto last = co_await reader.read_exactly(1);
            CHECK(last.text() == "x");
            auto nothing = co_await reader.peek(1);
            CHECK_FALSE(nothing);
            const std::error_code too_much = co_await thrown_by(reader.peek(9));
            CHECK(too_much == stream_errc::limit_exceeded);
        }
    });
}

TEST_CASE("consume takes from what is buffered", "[stream][buffered_reader]") {
    test::run([]() -> task<> {
        scripted_stream script;
        script.answer("abcdef\n").end();
        buffered_reader reader(script);
        CHECK_FALSE(reader.buffered());
        co_await reader.peek(1);
        CHECK(reader.buffered().text() == "abcdef\n");
        reader.consume(2);
        auto line = co_await reader.read_line();
        CHECK(line == "cdef");
    });
}

TEMPLATE_TEST_CASE("a record as long as the limit is read, and one byte more is an error",
                   "[stream][buffered_reader]", leased, copied) {
    test::run([]() -> task<> {
        struct test_case {
            const char* text;
            std::string line;
            bool fails;
        };
        const std::vector<test_case> table = {
            {"abcd\n", "abcd", false},   {"abcd\r\nx", "abcd", false}, {"abcd", "abcd", false},
            {"abc\r", "abc\r", false},   {"abcd\r", "", true},         {"abcde\n", "", true},
            {"abcde\r\n", "", true},     {"abcd\r\r\n", "", true},     {"abcde", "", true},
            {"abcd\rx\n", "", true},     {"abcdefghijkl\n", "", true},
        };
        for (const auto& [text, expected, fails] : table) {
            const std::size_t size = std::string_view(text).size();
            for (std::size_t at = 0; at <= size; ++at) {
                CAPTURE(text, at);
                TestType source;
                script_split(source.script, text, at);
                buffered_reader reader(source.stream(), 4);
                auto line = co_await as_result(reader.read_line());
                CHECK(line.has_value() != fails);
                if (line) {
                    CHECK(*line == expected);
                    continue;
                }
                CHECK(line.error() == stream_errc::limit_exceeded);
                // The position is where it was.
                std::string all;
                while (auto piece = co_await reader.recv()) all += piece.text();
                CHECK(all == text);
            }
        }
    });
}

TEST_CASE("the limit of read_until leaves the delimiter out", "[stream][buffered_reader]") {
    test::run([]() -> task<> {
        for (const std::string text : {"abcd--", "abcde--", "abcdefg", "abcd-"}) {
            for (std::size_t at = 0; at <= text.size(); ++at) {
                CAPTURE(text, at);
                scripted_stream script;
                script_split(script, text, at);
                buffered_reader reader(script, 4);
                auto record = co_await as_result(reader.read_until("--"));
                CHECK(record.has_value() == (text == "abcd--"));
                if (record) continue;
                const bool begun = text == "abcd-";
                CHECK(record.error() == (begun ? make_error_code(stream_errc::unexpected_end)
                                               : make_error_code(stream_errc::limit_exceeded)));
                CHECK(reader.buffered().text() == text.substr(0, reader.buffered().size()));
            }
        }
    });
}

TEST_CASE("what is too long is told with the limit", "[stream][buffered_reader]") {
    test::run([]() -> task<> {
        scripted_stream script;
        script.answer("0123456789\n");
        buffered_reader reader(script, 8);
        texts said;
        for (int i = 0; i < 4; ++i) {
            try {
                if (i == 0) co_await reader.read_line();
                if (i == 1) co_await reader.read_until(";");
                if (i == 2) co_await reader.read_exactly(9);
                if (i == 3) co_await reader.peek(9);
            } catch (const limit_exceeded& error) {
                CHECK(error.limit() == 8);
                said.emplace_back(error.what());
            }
        }
        CHECK(said == texts{"read_line: a line longer than 8 bytes",
                            "read_until: no delimiter within 8 bytes",
                            "read_exactly: 9 bytes, and the reader's limit is 8",
                            "peek: 9 bytes, and the reader's limit is 8"});
        // Into the caller's memory as much may be read as fits there.
        std::string all(11, '\0');
        co_await reader.read_exactly(std::as_writable_bytes(std::span(all)));
        CHECK(all == "0123456789\n");
    });
}

TEMPLATE_TEST_CASE("skip_line forgets a line of any length", "[stream][buffered_reader]", leased,
                   copied) {
    test::run([]() -> task<> {
        const std::string text = "much too long\nnext\nrest";
        for (std::size_t at = 0; at <= text.size(); ++at) {
            TestType source;
            script_split(source.script, text, at);
            buffered_reader reader(source.stream(), 4);
            const std::error_code failure = co_await thrown_by(reader.read_line());
            CHECK(failure == stream_errc::limit_exceeded);
            auto skipped = co_await reader.skip_line();
            CHECK(skipped);
            auto line = co_await reader.read_line();
            CHECK(line == "next");
            skipped = co_await reader.skip_line();
            CHECK_FALSE(skipped);
            auto end = co_await reader.read_line();
            CHECK_FALSE(end);
        }
    });
}

TEST_CASE("skip_until finds a delimiter wherever the input is cut", "[stream][buffered_reader]") {
    test::run([]() -> task<> {
        const std::string text = "aabaab\r\n\r\nrest";
        for (std::size_t at = 0; at <= text.size(); ++at) {
            for (const std::size_t size : {std::size_t(0), std::size_t(1), std::size_t(3)}) {
                CAPTURE(at, size);
                scripted_stream script;
                if (size == 0) {
                    script_split(script, text, at);
                } else {
                    script.answer_in_pieces(text, size).end();
                }
                buffered_reader reader(script);
                auto skipped = co_await reader.skip_until("\r\n\r\n");
                CHECK(skipped);
                auto rest = co_await reader.read_exactly(4);
                CHECK(rest.text() == "rest");
            }
        }
    });
}

// --- cancellation --------------------------------------------------------------------------------

TEMPLATE_TEST_CASE("a read cancelled at any point takes nothing", "[stream][buffered_reader]",
                   leased, copied) {
    test::run([]() -> task<> {
        const std::string text = "0123456\r\n";
        for (std::size_t at = 0; at < text.size(); ++at) {
            for (int kind = 0; kind < 5; ++kind) {
                CAPTURE(at, kind);
                TestType source;
                if (at != 0) source.script.answer(text.substr(0, at));
                source.script.stall_recv().answer(text.substr(at)).end();
                buffered_reader reader(source.stream());
                std::string buffer(text.size(), '\0');
                const auto room = std::as_writable_bytes(std::span(buffer));
                bool waited = false;
                if (kind == 0) waited = co_await cancelled_while_waiting(reader.read_line());
                if (kind == 1) waited = co_await cancelled_while_waiting(reader.read_until("\r\n"));
                if (kind == 2) waited = co_await cancelled_while_waiting(reader.read_exactly(9));
                if (kind == 3) waited = co_await cancelled_while_waiting(reader.read_exactly(room));
                if (kind == 4) waited = co_await cancelled_while_waiting(reader.peek(9));
                CHECK(waited);
                CHECK(reader.buffered().text() == text.substr(0, at));
                CHECK(source.script.leases_held() == 0);
                auto line = co_await reader.read_line();
                CHECK(line == "0123456");
                auto end = co_await reader.read_line();
                CHECK_FALSE(end);
                source.script.verify();
            }
        }
    });
}

TEST_CASE("a cancelled skip goes on where it was", "[stream][buffered_reader]") {
    test::run([]() -> task<> {
        const std::string text = "to be forgotten\r\nrest";
        for (std::size_t at = 0; at < text.find("rest"); ++at) {
            scripted_stream script;
            if (at != 0) script.answer(text.substr(0, at));
            script.stall_recv().answer(text.substr(at)).end();
            buffered_reader reader(script);
            const bool waited = co_await cancelled_while_waiting(reader.skip_until("\r\n"));
            CHECK(waited);
            auto skipped = co_await reader.skip_until("\r\n");
            CHECK(skipped);
            auto rest = co_await reader.read_line();
            CHECK(rest == "rest");
        }
    });
}

TEST_CASE("in a cancelled scope not even what is buffered is read", "[stream][buffered_reader]") {
    test::run([]() -> task<> {
        scripted_stream script;
        script.answer("one\ntwo\n");
        buffered_reader reader(script);
        auto line = co_await reader.read_line();
        CHECK(line == "one");
        cancel_scope scope;
        scope.cancel();
        std::string buffer(1, '\0');
        const auto room = std::as_writable_bytes(std::span(buffer));
        const std::error_code canceled = std::make_error_code(std::errc::operation_canceled);
        for (int i = 0; i < 2; ++i) {
            std::error_code failure = co_await thrown_by(scope.run(reader.read_line()));
            CHECK(failure == canceled);
            failure = co_await thrown_by(scope.run(reader.read_exactly(1)));
            CHECK(failure == canceled);
            failure = co_await thrown_by(scope.run(reader.read_exactly(room)));
            CHECK(failure == canceled);
            failure = co_await thrown_by(scope.run(reader.recv()));
            CHECK(failure == canceled);
            failure = co_await thrown_by(scope.run(reader.recv(room)));
            CHECK(failure == canceled);
            failure = co_await thrown_by(scope.run(reader.skip_line()));
            CHECK(failure == canceled);
        }
        line = co_await reader.read_line();
        CHECK(line == "two");
    });
}

// --- failures and leases -------------------------------------------------------------------------

TEMPLATE_TEST_CASE("a failing stream leaves what came before it readable",
                   "[stream][buffered_reader]", leased, copied) {
    test::run([]() -> task<> {
        TestType source;
        source.script.answer("one\nhal").fail_recv(std::make_error_code(std::errc::io_error));
        source.script.answer("f\n").end();
        buffered_reader reader(source.stream());
        auto line = co_await reader.read_line();
        CHECK(line == "one");
        const std::error_code failure = co_await thrown_by(reader.read_line());
        CHECK(failure == std::errc::io_error);
        CHECK(reader.buffered().text() == "hal");
        line = co_await reader.read_line();
        CHECK(line == "half");
    });
}

TEST_CASE("a reader holds one lease while it has its bytes, and none while it waits",
          "[stream][buffered_reader]") {
    test::run([]() -> task<> {
        scripted_stream script;
        script.answer("one\ntw").answer("o\nthree\n").stall_recv().answer("four\n").end();
        buffered_reader reader(script);
        auto line = co_await reader.read_line();
        CHECK(line == "one");
        CHECK(script.leases_held() == 1);
        line = co_await reader.read_line();
        CHECK(line == "two");
        CHECK(script.leases_held() == 1);
        line = co_await reader.read_line();
        CHECK(line == "three");
        CHECK(script.leases_held() == 1);
        const bool waited = co_await cancelled_while_waiting(reader.read_line());
        CHECK(waited);
        CHECK(script.leases_held() == 0);
        line = co_await reader.read_line();
        CHECK(line == "four");
    });
}

TEST_CASE("a line that came in one lease is a view of it", "[stream][buffered_reader]") {
    test::run([]() -> task<> {
        scripted_stream script;
        script.answer("one\ntwo\n");
        buffered_reader reader(script);
        auto first = co_await reader.read_line();
        const char* where = first->data();
        auto second = co_await reader.read_line();
        CHECK(second->data() == where + 4);
    });
}

// --- over real streams ---------------------------------------------------------------------------

namespace {

// Lines of very different lengths, with both kinds of ends, and no end in their text.
std::string many_lines() {
    std::string text;
    for (std::size_t i = 0; i < 300; ++i) {
        std::string line = pattern(i * 7919 % 3000, i);
        std::ranges::replace(line, '\n', '_');
        std::ranges::replace(line, '\r', '-');
        text += line + (i % 3 == 0 ? "\r\n" : "\n");
    }
    return text;
}

template <typename Stream>
task<> send_in_pieces(Stream& to, std::string_view text) {
    for (std::size_t size = 1; !text.empty(); size = size * 5 % 4999) {
        co_await to.send(text.substr(0, size));
        text.remove_prefix(std::min(size, text.size()));
    }
    to.shutdown(shutdown_mode::send);
}

}  // namespace

TEMPLATE_TEST_CASE("lines of all lengths come through", "[stream][buffered_reader][tcp]", over_tcp,
                   over_unix, over_pipe) {
    test::run([]() -> task<> {
        const std::string text = many_lines();
        for (const bool narrow : {false, true}) {
            if (narrow && faulty()) continue;
            auto wide_pair = co_await TestType::connect();
            auto narrow_pair = co_await TestType::connect_narrow();
            auto& pair = narrow ? narrow_pair : wide_pair;
            buffered_reader reader(pair.b);
            const auto [sent, lines] =
                co_await when_all(send_in_pieces(pair.a, text), read_lines(reader));
            CHECK((lines == lines_of(text)));
        }
    });
}

TEMPLATE_TEST_CASE("lines survive deadlines that fall anywhere",
                   "[stream][buffered_reader][tcp][cancellation]", over_tcp, over_unix,
                   over_pipe) {
    test::run([]() -> task<> {
        const std::string text = many_lines();
        auto pair = co_await TestType::connect();
        const auto receive = [&]() -> task<texts> {
            buffered_reader reader(pair.b);
            texts lines;
            for (int i = 0;; ++i) {
                const auto patience = std::chrono::microseconds(i % 40);
                auto line = co_await as_result(with_timeout(patience, reader.read_line()));
                if (!line) {
                    CHECK(line.error() == std::errc::timed_out);
                } else if (*line) {
                    lines.emplace_back(**line);
                } else {
                    co_return lines;
                }
            }
        };
        const auto [sent, lines] = co_await when_all(send_in_pieces(pair.a, text), receive());
        CHECK((lines == lines_of(text)));
    });
}
