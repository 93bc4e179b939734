#include <rondo/stream/stream_error.hpp>

namespace rondo::inline v0 {

namespace {

class stream_category_type final : public std::error_category {
public:
    const char* name() const noexcept override { return "rondo.stream"; }
    std::string message(int error) const override {
        switch (static_cast<stream_errc>(error)) {
            case stream_errc::unexpected_end: return "the stream ended too early";
            case stream_errc::limit_exceeded: return "longer than the reader's limit";
        }
        return "unknown error " + std::to_string(error);
    }
};

}  // namespace

const std::error_category& stream_category() noexcept {
    static const stream_category_type category;
    return category;
}

std::error_code make_error_code(stream_errc error) noexcept {
    return {static_cast<int>(error), stream_category()};
}

stream_error::~stream_error() = default;

unexpected_end::unexpected_end(const std::string& sentence, std::size_t transferred)
    : stream_error(stream_errc::unexpected_end, sentence, transferred) {}
unexpected_end::~unexpected_end() = default;

limit_exceeded::limit_exceeded(const std::string& sentence, std::size_t limit)
    : stream_error(stream_errc::limit_exceeded, sentence), limit_(limit) {}
limit_exceeded::~limit_exceeded() = default;

}  // namespace rondo::inline v0
