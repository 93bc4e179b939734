// The lists of objects that carry their own links.
#include <rondo/detail/intrusive_list.hpp>

#include <catch2/catch_test_macros.hpp>

#include <cstddef>
#include <deque>
#include <list>
#include <memory>
#include <random>
#include <type_traits>
#include <vector>

namespace {

using rondo::detail::intrusive_hook;
using rondo::detail::intrusive_list;
using rondo::detail::intrusive_queue;
using rondo::detail::queue_hook;

struct item : intrusive_hook {
    explicit item(int v) : value(v) {}
    int value;
};

struct job : queue_hook {
    explicit job(int v) : value(v) {}
    int value;
};

template <typename List>
std::vector<int> values(const List& list) {
    std::vector<int> result;
    for (const item& each : list) {
        result.push_back(each.value);
    }
    return result;
}

std::vector<int> drain(intrusive_queue<job>& queue) {
    std::vector<int> result;
    while (job* next = queue.pop_front()) {
        result.push_back(next->value);
    }
    return result;
}

static_assert(!std::is_move_constructible_v<intrusive_hook>);
static_assert(!std::is_move_constructible_v<intrusive_list<item>>);
static_assert(!std::is_move_constructible_v<intrusive_queue<job>>);
static_assert(sizeof(queue_hook) == sizeof(void*));
static_assert(sizeof(intrusive_hook) == 2 * sizeof(void*));

}  // namespace

TEST_CASE("an intrusive list keeps the order of its two ends", "[detail][intrusive_list]") {
    intrusive_list<item> list;
    item a(1);
    item b(2);
    item c(3);
    CHECK(list.empty());
    CHECK(list.pop_front() == nullptr);
    list.push_back(b);
    list.push_back(c);
    list.push_front(a);
    CHECK(values(list) == std::vector<int>{1, 2, 3});
    CHECK(&list.front() == &a);
    CHECK(&list.back() == &c);
    CHECK(list.pop_front() == &a);
    CHECK(list.pop_front() == &b);
    CHECK(list.pop_front() == &c);
    CHECK(list.pop_front() == nullptr);
    CHECK(list.empty());
}

TEST_CASE("a hook tells whether it is linked and leaves its list", "[detail][intrusive_list]") {
    intrusive_list<item> list;
    item a(1);
    item b(2);
    item c(3);
    CHECK_FALSE(a.is_linked());
    a.unlink();
    list.push_back(a);
    list.push_back(b);
    list.push_back(c);
    CHECK(b.is_linked());
    b.unlink();
    CHECK_FALSE(b.is_linked());
    CHECK(values(list) == std::vector<int>{1, 3});
    b.unlink();
    CHECK(values(list) == std::vector<int>{1, 3});
    list.erase(a);
    CHECK(values(list) == std::vector<int>{3});
    list.push_back(a);
    CHECK(values(list) == std::vector<int>{3, 1});
}

TEST_CASE("an object that dies leaves its list", "[detail][intrusive_list]") {
    intrusive_list<item> list;
    item a(1);
    item c(3);
    list.push_back(a);
    {
        item b(2);
        list.push_back(b);
        list.push_back(c);
        CHECK(values(list) == std::vector<int>{1, 2, 3});
    }
    CHECK(values(list) == std::vector<int>{1, 3});
}

TEST_CASE("a list that dies or is cleared unlinks its objects", "[detail][intrusive_list]") {
    item a(1);
    item b(2);
    {
        intrusive_list<item> list;
        list.push_back(a);
        list.push_back(b);
        list.clear();
        CHECK(list.empty());
        CHECK_FALSE(a.is_linked());
        list.push_back(b);
        list.push_back(a);
    }
    CHECK_FALSE(a.is_linked());
    CHECK_FALSE(b.is_linked());
}

TEST_CASE("an iteration may erase or destroy the element it stands on",
          "[detail][intrusive_list]") {
    intrusive_list<item> list;
    std::vector<std::unique_ptr<item>> owners;
    for (int i = 0; i < 6; ++i) {
        owners.push_back(std::make_unique<item>(i));
        list.push_back(*owners.back());
    }
    std::vector<int> seen;
    for (item& each : list) {
        seen.push_back(each.value);
        if (each.value % 2 == 0) {
            list.erase(each);
        } else if (each.value == 3) {
            owners[3].reset();
        }
    }
    CHECK(seen == std::vector<int>{0, 1, 2, 3, 4, 5});
    CHECK(values(list) == std::vector<int>{1, 5});
}

TEST_CASE("splicing moves a whole list behind another", "[detail][intrusive_list]") {
    intrusive_list<item> list;
    intrusive_list<item> other;
    item a(1);
    item b(2);
    item c(3);
    list.splice(other);
    CHECK(list.empty());
    other.push_back(b);
    other.push_back(c);
    list.splice(other);
    CHECK(values(list) == std::vector<int>{2, 3});
    CHECK(other.empty());
    other.push_back(a);
    list.splice(other);
    list.splice(other);
    list.splice(list);
    CHECK(values(list) == std::vector<int>{2, 3, 1});
    other.splice(list);
    CHECK(values(other) == std::vector<int>{2, 3, 1});
    CHECK(list.empty());
    c.unlink();
    CHECK(values(other) == std::vector<int>{2, 1});
}

TEST_CASE("an object sits in two lists by two hooks", "[detail][intrusive_list]") {
    struct alive : intrusive_hook {};
    struct waiting : intrusive_hook {};
    struct connection : alive, waiting {};
    intrusive_list<connection, alive> all;
    intrusive_list<connection, waiting> queue;
    connection one;
    connection two;
    all.push_back(one);
    all.push_back(two);
    queue.push_back(two);
    CHECK(queue.pop_front() == &two);
    CHECK(all.pop_front() == &one);
    CHECK(all.pop_front() == &two);
}

TEST_CASE("an intrusive list does what std::list does", "[detail][intrusive_list]") {
    std::mt19937 random(20240607);
    intrusive_list<item> list;
    std::list<int> model;
    std::deque<item> items;
    for (int i = 0; i < 16; ++i) {
        items.emplace_back(i);
    }
    for (int step = 0; step < 5000; ++step) {
        item& chosen = items[random() % items.size()];
        if (chosen.is_linked()) {
            list.erase(chosen);
            model.remove(chosen.value);
        } else if (random() % 2 == 0) {
            list.push_back(chosen);
            model.push_back(chosen.value);
        } else {
            list.push_front(chosen);
            model.push_front(chosen.value);
        }
        REQUIRE(values(list) == std::vector<int>(model.begin(), model.end()));
        REQUIRE(list.empty() == model.empty());
    }
}

TEST_CASE("an intrusive queue is first in, first out", "[detail][intrusive_queue]") {
    intrusive_queue<job> queue;
    job a(1);
    job b(2);
    job c(3);
    CHECK(queue.empty());
    CHECK(queue.pop_front() == nullptr);
    queue.push_back(a);
    CHECK_FALSE(queue.empty());
    CHECK(&queue.front() == &a);
    CHECK(queue.pop_front() == &a);
    CHECK(queue.empty());
    queue.push_back(c);
    queue.push_back(a);
    queue.push_back(b);
    CHECK(queue.pop_front() == &c);
    queue.push_back(c);
    CHECK(drain(queue) == std::vector<int>{1, 2, 3});
    CHECK(queue.empty());
}

TEST_CASE("splicing moves a whole queue behind another", "[detail][intrusive_queue]") {
    intrusive_queue<job> queue;
    intrusive_queue<job> other;
    job a(1);
    job b(2);
    job c(3);
    job d(4);
    queue.splice(other);
    CHECK(queue.empty());
    other.push_back(a);
    other.push_back(b);
    queue.splice(other);
    queue.splice(queue);
    CHECK(other.empty());
    CHECK(other.pop_front() == nullptr);
    other.push_back(c);
    queue.splice(other);
    queue.push_back(d);
    other.splice(other);
    CHECK(drain(queue) == std::vector<int>{1, 2, 3, 4});
    CHECK(drain(other).empty());
}

TEST_CASE("an intrusive queue does what std::deque does", "[detail][intrusive_queue]") {
    std::mt19937 random(7);
    intrusive_queue<job> queue;
    std::deque<int> model;
    std::deque<job> jobs;
    std::vector<job*> idle;
    for (int i = 0; i < 8; ++i) {
        idle.push_back(&jobs.emplace_back(i));
    }
    std::size_t emptied = 0;
    for (int step = 0; step < 5000; ++step) {
        if (!idle.empty() && random() % 2 == 0) {
            job* chosen = idle.back();
            idle.pop_back();
            queue.push_back(*chosen);
            model.push_back(chosen->value);
        } else {
            job* first = queue.pop_front();
            REQUIRE((first == nullptr) == model.empty());
            if (first != nullptr) {
                REQUIRE(first->value == model.front());
                model.pop_front();
                idle.insert(idle.begin(), first);
                emptied += model.empty() ? 1U : 0U;
            }
        }
        REQUIRE(queue.empty() == model.empty());
    }
    CHECK(emptied > 100);
}
