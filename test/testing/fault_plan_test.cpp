// What is drawn from a seed.
#include <rondo/testing/fault_plan.hpp>

#include <catch2/catch_test_macros.hpp>

#include <cstddef>
#include <cstdint>
#include <set>

namespace {

using rondo::testing::fault;
using rondo::testing::fault_plan;

TEST_CASE("plans from seeds use every fault a program must not notice", "[testing][faulty]") {
    const std::set<fault> never{fault::error,       fault::out_of_memory, fault::refused,
                                fault::control_cut, fault::cancel_missed, fault::overflow};
    for (std::size_t i = 0; i < rondo::testing::fault_count; ++i) {
        const auto kind = static_cast<fault>(i);
        CAPTURE(to_string(kind));
        int used = 0;
        for (std::uint64_t seed = 0; seed < 100; ++seed) {
            if (fault_plan::from_seed(seed).chance(kind) != 0) ++used;
        }
        CHECK((used != 0) == !never.contains(kind));
        CHECK(used < 100);
    }
    CHECK(fault_plan::from_seed(5).per_mille == fault_plan::from_seed(5).per_mille);
}

}  // namespace
