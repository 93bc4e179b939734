// Lists of objects that carry their own links: no allocation, no ownership.
#pragma once

#include <cassert>
#include <cstddef>
#include <iterator>
#include <type_traits>

namespace rondo::inline v0::detail {

template <typename T, typename Hook>
class intrusive_list;

template <typename T, typename Hook>
class intrusive_queue;

/// What an object inherits to sit in one `intrusive_list` at a time. It leaves the list by itself
/// when it is destroyed. An object that sits in several lists at once inherits one distinct class
/// derived from this per list and names it as the list's `Hook`.
class intrusive_hook {
public:
    intrusive_hook() noexcept = default;
    intrusive_hook(const intrusive_hook&) = delete;
    intrusive_hook& operator=(const intrusive_hook&) = delete;
    ~intrusive_hook() { unlink(); }

    [[nodiscard]] bool is_linked() const noexcept { return next_ != nullptr; }

    /// Leaves the list; of no effect when in none.
    void unlink() noexcept {
        if (next_ == nullptr) {
            return;
        }
        previous_->next_ = next_;
        next_->previous_ = previous_;
        previous_ = nullptr;
        next_ = nullptr;
    }

private:
    template <typename T, typename Hook>
    friend class intrusive_list;

    void link_before(intrusive_hook& position) noexcept {
        assert(!is_linked() && "an object joins a second list through the same hook");
        previous_ = position.previous_;
        next_ = &position;
        previous_->next_ = this;
        position.previous_ = this;
    }

    intrusive_hook* previous_ = nullptr;
    intrusive_hook* next_ = nullptr;
};

/// A doubly linked list of objects that inherit `Hook`. Each operation but `clear` is constant
/// time. The list does not move, for its ends point at it. Its destructor unlinks what is left.
template <typename T, typename Hook = intrusive_hook>
class intrusive_list {
    template <typename Value>
    class basic_iterator;

public:
    using iterator = basic_iterator<T>;
    using const_iterator = basic_iterator<const T>;

    intrusive_list() noexcept {
        ends_.previous_ = &ends_;
        ends_.next_ = &ends_;
    }
    intrusive_list(const intrusive_list&) = delete;
    intrusive_list& operator=(const intrusive_list&) = delete;
    ~intrusive_list() { clear(); }

    [[nodiscard]] bool empty() const noexcept { return ends_.next_ == &ends_; }

    /// The list must not be empty.
    [[nodiscard]] T& front() noexcept {
        assert(!empty());
        return object(*ends_.next_);
    }
    [[nodiscard]] T& back() noexcept {
        assert(!empty());
        return object(*ends_.previous_);
    }

    void push_back(T& item) noexcept { hook(item).link_before(ends_); }
    void push_front(T& item) noexcept { hook(item).link_before(*ends_.next_); }

    /// Null when the list is empty.
    T* pop_front() noexcept {
        if (empty()) {
            return nullptr;
        }
        T& first = front();
        hook(first).unlink();
        return &first;
    }

    /// `item` must be in this list or in none; the list is not looked at, hence static.
    static void erase(T& item) noexcept { hook(item).unlink(); }

    void clear() noexcept {
        while (!empty()) {
            ends_.next_->unlink();
        }
    }

    /// Moves everything in `other`, in its order, behind what is here.
    void splice(intrusive_list& other) noexcept {
        if (other.empty() || &other == this) {
            return;
        }
        intrusive_hook& first = *other.ends_.next_;
        intrusive_hook& last = *other.ends_.previous_;
        first.previous_ = ends_.previous_;
        ends_.previous_->next_ = &first;
        last.next_ = &ends_;
        ends_.previous_ = &last;
        other.ends_.previous_ = &other.ends_;
        other.ends_.next_ = &other.ends_;
    }

    /// The element an iterator stands on may be erased or destroyed under way, its successor must
    /// not: the iterator has already read it. What is pushed behind the last one is not visited
    /// once the iteration stands on that one.
    [[nodiscard]] iterator begin() noexcept { return iterator(ends_.next_); }
    [[nodiscard]] iterator end() noexcept { return iterator(&ends_); }
    [[nodiscard]] const_iterator begin() const noexcept { return const_iterator(ends_.next_); }
    [[nodiscard]] const_iterator end() const noexcept {
        return const_iterator(const_cast<intrusive_hook*>(&ends_));
    }

private:
    static intrusive_hook& hook(T& item) noexcept { return static_cast<Hook&>(item); }
    static T& object(intrusive_hook& link) noexcept {
        return static_cast<T&>(static_cast<Hook&>(link));
    }

    template <typename Value>
    class basic_iterator {
    public:
        using iterator_category = std::forward_iterator_tag;
        using value_type = std::remove_const_t<Value>;
        using difference_type = std::ptrdiff_t;
        using pointer = Value*;
        using reference = Value&;

        basic_iterator() noexcept = default;
        explicit basic_iterator(intrusive_hook* current) noexcept
            : current_(current), successor_(current->next_) {}

        reference operator*() const noexcept { return object(*current_); }
        pointer operator->() const noexcept { return &object(*current_); }

        basic_iterator& operator++() noexcept {
            current_ = successor_;
            successor_ = current_->next_;
            return *this;
        }
        basic_iterator operator++(int) noexcept {
            basic_iterator before = *this;
            ++*this;
            return before;
        }
        bool operator==(const basic_iterator& other) const noexcept {
            return current_ == other.current_;
        }

    private:
        intrusive_hook* current_ = nullptr;
        intrusive_hook* successor_ = nullptr;
    };

    // The front's predecessor and the back's successor. Not one of the elements.
    intrusive_hook ends_;
};

/// What an object inherits to wait in one `intrusive_queue` at a time. It does not know whether it
/// waits: the owner must not destroy it, or queue it again, before it was popped.
class queue_hook {
public:
    // A link is written when its object is queued; setting it before would be work for nothing.
    queue_hook() noexcept {}
    queue_hook(const queue_hook&) = delete;
    queue_hook& operator=(const queue_hook&) = delete;

private:
    template <typename T, typename Hook>
    friend class intrusive_queue;

    queue_hook* next_;
};

/// A first-in first-out queue of objects that inherit `Hook`. The last element's link is never
/// read nor written: the tail alone tells where the queue ends, so that a push is two stores.
/// The queue does not move, for its empty tail points at its head.
template <typename T, typename Hook = queue_hook>
class intrusive_queue {
public:
    intrusive_queue() noexcept = default;
    intrusive_queue(const intrusive_queue&) = delete;
    intrusive_queue& operator=(const intrusive_queue&) = delete;

    [[nodiscard]] bool empty() const noexcept { return tail_ == &before_first_; }

    /// The queue must not be empty.
    [[nodiscard]] T& front() noexcept {
        assert(!empty());
        return object(*before_first_.next_);
    }

    void push_back(T& item) noexcept {
        queue_hook& link = static_cast<Hook&>(item);
        tail_->next_ = &link;
        tail_ = &link;
    }

    /// Null when the queue is empty.
    T* pop_front() noexcept {
        if (empty()) {
            return nullptr;
        }
        queue_hook* first = before_first_.next_;
        before_first_.next_ = first->next_;
        tail_ = tail_ == first ? &before_first_ : tail_;
        return &object(*first);
    }

    /// Empties the queue and calls `visit` with each object it held, in order. Objects may be
    /// destroyed or queued again, here too, while they are visited.
    template <typename Visit>
    void drain(Visit visit) {
        if (empty()) {
            return;
        }
        queue_hook* current = before_first_.next_;
        queue_hook* const last = tail_;
        tail_ = &before_first_;
        for (;;) {
            queue_hook* const next = current->next_;  // undefined for the last, and unused then
            visit(object(*current));
            if (current == last) {
                return;
            }
            current = next;
        }
    }

    /// Moves everything in `other`, in its order, behind what is here.
    void splice(intrusive_queue& other) noexcept {
        if (other.empty() || &other == this) {
            return;
        }
        tail_->next_ = other.before_first_.next_;
        tail_ = other.tail_;
        other.tail_ = &other.before_first_;
    }

private:
    static T& object(queue_hook& link) noexcept {
        return static_cast<T&>(static_cast<Hook&>(link));
    }

    queue_hook before_first_;
    queue_hook* tail_ = &before_first_;
};

}  // namespace rondo::inline v0::detail
