#include <rondo/task/frame_pool.hpp>

#include <catch2/catch_test_macros.hpp>

#include <array>
#include <cstdint>
#include <cstring>
#include <set>
#include <thread>
#include <vector>

using rondo::detail::frame_pool;

namespace {

constexpr std::size_t largest_class = frame_pool::classes * frame_pool::alignment;

TEST_CASE("A freed block is the next one of its size class", "[frame_pool]") {
    for (const std::size_t size : {1u, 63u, 64u, 65u, 500u, 2047u, 2048u}) {
        void* const first = frame_pool::allocate(size);
        frame_pool::deallocate(first, size);
        void* const again = frame_pool::allocate(size);
        CHECK(again == first);
        frame_pool::deallocate(again, size);
    }
}

TEST_CASE("Blocks of every size are aligned, usable to their end and apart", "[frame_pool]") {
    struct piece {
        unsigned char* memory;
        std::size_t size;
    };
    std::vector<piece> pieces;
    for (std::size_t size = 1; size <= largest_class + 200; size += 7) {
        auto* memory = static_cast<unsigned char*>(frame_pool::allocate(size));
        REQUIRE(reinterpret_cast<std::uintptr_t>(memory) % frame_pool::alignment == 0);
        std::memset(memory, static_cast<int>(pieces.size() % 251), size);
        pieces.push_back({memory, size});
    }
    bool intact = true;
    for (std::size_t i = 0; i != pieces.size(); ++i) {
        for (std::size_t at = 0; at != pieces[i].size; ++at) {
            intact = intact && pieces[i].memory[at] == i % 251;
        }
        frame_pool::deallocate(pieces[i].memory, pieces[i].size);
    }
    CHECK(intact);
}

TEST_CASE("More blocks than a slab holds are all different", "[frame_pool]") {
    std::set<void*> blocks;
    for (int i = 0; i != 3000; ++i) blocks.insert(frame_pool::allocate(100));
    CHECK(blocks.size() == 3000);
    for (void* block : blocks) frame_pool::deallocate(block, 100);
}

TEST_CASE("A block freed on another thread is that thread's, and after its end anybody's",
          "[frame_pool]") {
    constexpr std::size_t size = 1900;  // a class of which little else is in use
    std::set<void*> ours;
    for (int i = 0; i != 500; ++i) ours.insert(frame_pool::allocate(size));
    bool reused_there = false;
    std::thread other([&] {
        void* last = nullptr;
        for (void* block : ours) frame_pool::deallocate(last = block, size);
        void* const taken = frame_pool::allocate(size);
        reused_there = taken == last;
        frame_pool::deallocate(taken, size);
    });
    other.join();
    CHECK(reused_there);
    // What is left on this thread's own list goes first.
    std::vector<void*> taken;
    std::size_t back = 0;
    for (int i = 0; i != 600; ++i) {
        taken.push_back(frame_pool::allocate(size));
        back += ours.count(taken.back());
    }
    CHECK(back == 500);
    for (void* block : taken) frame_pool::deallocate(block, size);
}

TEST_CASE("Many threads hand blocks to each other and none is handed out twice", "[frame_pool]") {
    std::array<std::thread, 4> threads;
    std::atomic<bool> intact = true;
    for (std::size_t t = 0; t != threads.size(); ++t) {
        threads[t] = std::thread([&, t] {
            for (int round = 0; round != 200; ++round) {
                std::array<unsigned char*, 50> blocks;
                for (unsigned char*& block : blocks) {
                    block = static_cast<unsigned char*>(frame_pool::allocate(300));
                    std::memset(block, static_cast<int>(t), 300);
                }
                for (unsigned char* block : blocks) {
                    if (block[0] != t || block[299] != t) intact = false;
                    frame_pool::deallocate(block, 300);
                }
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(intact);
}

}  // namespace
