// Awaiting what is done to a file.
#pragma once

#include <rondo/const_buffer.hpp>
#include <rondo/detail/unique_fd.hpp>
#include <rondo/io/continued_operation.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <source_location>
#include <span>
#include <string>
#include <system_error>

namespace rondo::inline v0 {
class file;
}

namespace rondo::inline v0::detail {

/// What a file and the operations on it share. It does not move.
struct open_file {
    open_file(unique_fd owned, std::string name)
        : descriptor(std::move(owned)), path(std::move(name)) {}
    open_file(const open_file&) = delete;
    open_file& operator=(const open_file&) = delete;
    ~open_file();

    unique_fd descriptor;
    const std::string path;    // for error texts
    unsigned under_way = 0;  // operations: a helper thread may be about to use the number
};

/// Where an operation has no offset: at the file's own position.
inline constexpr std::uint64_t at_position = ~std::uint64_t{0};

/// What reading, writing and flushing share.
class file_operation : public continued_operation {
public:
    template <has_context Promise>
    void await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location place = std::source_location::current()) {
        begin(awaiting, context_at(awaiting, place));
    }
    std::error_code error() noexcept {
        leave();
        return operation::error();
    }

protected:
    explicit file_operation(open_file& target) noexcept : file_(&target) {}
    ~file_operation() = default;

    void begin(std::coroutine_handle<> awaiting, context& where);
    void leave() noexcept;
    void fell_short() noexcept override;
    void again() noexcept;
    [[noreturn, gnu::cold]] void fail(const char* verb, std::size_t transferred = 0) const;

    open_file* file_;

private:
    bool entered_ = false;
};

class [[nodiscard]] file_read_operation final : public file_operation {
public:
    file_read_operation(open_file& target, std::span<std::byte> buffer,
                        std::uint64_t offset) noexcept
        : file_operation(target), buffer_(buffer), offset_(offset) {}
    std::size_t await_resume();
    std::string awaits() const override { return "read " + file_->path; }

private:
    void prepare(io_uring_sqe& entry) noexcept override;
    void fell_short() noexcept override;

    std::span<std::byte> buffer_;
    std::uint64_t offset_;
    bool polls_ = false;  // a non-blocking pipe or terminal was empty
};

class [[nodiscard]] file_write_operation final : public file_operation {
public:
    file_write_operation(open_file& target, const_buffer data, std::uint64_t offset) noexcept
        : file_operation(target), data_(data.data()), size_(data.size()), offset_(offset) {}
    void await_resume();
    std::string awaits() const override { return "write " + file_->path; }

private:
    void prepare(io_uring_sqe& entry) noexcept override;
    void fell_short() noexcept override;

    const std::byte* data_;
    std::size_t size_;
    std::size_t written_ = 0;  // by completions before the last one
    std::uint64_t offset_;
    bool polls_ = false;  // a non-blocking pipe or terminal was full
};

class [[nodiscard]] file_sync_operation final : public file_operation {
public:
    file_sync_operation(open_file& target, bool data_only) noexcept
        : file_operation(target), data_only_(data_only) {}
    void await_resume();
    std::string awaits() const override { return "sync " + file_->path; }

private:
    void prepare(io_uring_sqe& entry) noexcept override;

    bool data_only_;
};

class [[nodiscard]] file_open_operation final : public continued_operation {
public:
    file_open_operation(std::string path, int flags, unsigned permissions) noexcept
        : path_(std::move(path)), flags_(flags), permissions_(permissions) {}
    file await_resume();
    std::string awaits() const override { return "open " + path_; }

private:
    void prepare(io_uring_sqe& entry) noexcept override;
    void fell_short() noexcept override;

    std::string path_;
    int flags_;
    unsigned permissions_;
};

/// Closes in any case: what the engine has not closed, the destructor does.
class [[nodiscard]] file_close_operation final : public operation {
public:
    explicit file_close_operation(std::unique_ptr<open_file> closing) noexcept
        : file_(std::move(closing)) {}

    template <has_context Promise>
    void await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location place = std::source_location::current()) {
        begin(awaiting, context_at(awaiting, place));
    }
    void await_resume();
    std::error_code error() noexcept;
    std::string awaits() const override { return "close " + file_->path; }

private:
    void begin(std::coroutine_handle<> awaiting, context& where);
    void prepare(io_uring_sqe& entry) noexcept override;
    void settle() noexcept;

    std::unique_ptr<open_file> file_;
};

}  // namespace rondo::inline v0::detail
