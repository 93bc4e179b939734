// What reading lines costs, against finding their ends and copying them.
#include <rondo/io/run.hpp>
#include <rondo/stream/buffered_reader.hpp>

#include <benchmark/benchmark.h>

#include <algorithm>
#include <coroutine>
#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace {

// A lease on bytes of a text that is always there.
class text_lease {
public:
    text_lease() noexcept = default;
    explicit text_lease(std::string_view text) noexcept : text_(text) {}
    explicit operator bool() const noexcept { return !text_.empty(); }
    std::span<const std::byte> bytes() const noexcept {
        return std::as_bytes(std::span<const char>(text_));
    }

private:
    std::string_view text_;
};

template <typename T>
class ready {
public:
    explicit ready(T value) noexcept : value_(value) {}
    bool await_ready() const noexcept { return true; }
    void await_suspend(std::coroutine_handle<>) const noexcept {}
    T await_resume() const noexcept { return value_; }

private:
    T value_;
};

// A stream in memory that never ends, in pieces as large as a socket's buffers.
class endless_text {
public:
    explicit endless_text(std::string_view text) noexcept : text_(text) {}

    ready<text_lease> recv() noexcept {
        const std::string_view piece = text_.substr(at_, piece_size);
        at_ = at_ + piece_size < text_.size() ? at_ + piece_size : 0;
        return ready<text_lease>(text_lease(piece));
    }
    ready<std::size_t> recv(std::span<std::byte> buffer) noexcept {
        const std::string_view piece = text_.substr(at_, std::min(buffer.size(), piece_size));
        std::memcpy(buffer.data(), piece.data(), piece.size());
        at_ = at_ + piece.size() < text_.size() ? at_ + piece.size() : 0;
        return ready<std::size_t>(piece.size());
    }

private:
    static constexpr std::size_t piece_size = 16 * 1024;

    std::string_view text_;
    std::size_t at_ = 0;
};

// The same without leases: what a TLS stream will be.
class endless_bytes {
public:
    explicit endless_bytes(std::string_view text) noexcept : text_(text) {}
    ready<std::size_t> recv(std::span<std::byte> buffer) noexcept { return text_.recv(buffer); }

private:
    endless_text text_;
};

// Lines of `size` bytes and their ends. No piece ends with a line, but for the last.
std::string lines(std::size_t size) {
    std::string text;
    while (text.size() < 1024 * 1024) text += std::string(size, 'x') + '\n';
    return text;
}

template <typename Stream>
rondo::task<> read_lines(benchmark::State& state) {
    const std::string text = lines(static_cast<std::size_t>(state.range(0)));
    Stream stream(text);
    rondo::buffered_reader reader(stream);
    for (auto _ : state) {
        auto line = co_await reader.read_line();
        benchmark::DoNotOptimize(line);
    }
}

template <typename Stream>
void read_line(benchmark::State& state) {
    rondo::run(read_lines<Stream>(state));
}
BENCHMARK(read_line<endless_text>)->Name("read_line/rondo")->Arg(1024)->Arg(32);
BENCHMARK(read_line<endless_bytes>)->Name("read_line/without_leases")->Arg(1024)->Arg(32);

// The least a reader can do that gives its caller lines: memchr and memcpy.
void find_and_copy(benchmark::State& state) {
    const std::string text = lines(static_cast<std::size_t>(state.range(0)));
    std::string line(text.size(), '\0');
    const char* at = text.data();
    const char* const end = text.data() + text.size();
    for (auto _ : state) {
        const auto rest = static_cast<std::size_t>(end - at);
        const char* const found = static_cast<const char*>(std::memchr(at, '\n', rest));
        const auto size = static_cast<std::size_t>(found - at);
        std::memcpy(line.data(), at, size);
        benchmark::DoNotOptimize(line.data());
        benchmark::ClobberMemory();
        at = found + 1 == end ? text.data() : found + 1;
    }
}
BENCHMARK(find_and_copy)->Name("read_line/reference")->Arg(1024)->Arg(32);

}  // namespace
