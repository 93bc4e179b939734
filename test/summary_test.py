#!/usr/bin/env python3
"""Checks summary.py on what ctest writes for suites of every end."""
import os
import tempfile
import unittest

import summary


def results(*cases):
    return "<testsuite>" + "".join(cases) + "</testsuite>"


def case(name, output, status="run", inside="", seconds=1.5):
    return (f'<testcase name="{name}" time="{seconds}" status="{status}">{inside}'
            f"<system-out>{output}</system-out></testcase>")


def rows(*cases):
    """The cells of each line below the heading, by suite."""
    with tempfile.NamedTemporaryFile("w", suffix=".xml", delete=False) as file:
        file.write(results(*cases))
    try:
        lines = list(summary.table(summary.read_suites(file.name)))
    finally:
        os.unlink(file.name)
    return {cells[0]: cells[1:] for cells in (line.split(None, 7) for line in lines[1:])}


class SummaryTest(unittest.TestCase):
    def test_cases_are_counted_as_catch_says(self):
        found = rows(
            case("uring", "All tests passed (120 assertions in 14 test cases)\n"),
            case("epoll", "test cases:   40 |   37 passed | 1 failed | 2 skipped\n", "fail"))
        self.assertEqual(found["uring"], ["1", "14", "0", "0", "1.5", "s"])
        self.assertEqual(found["epoll"], ["1", "37", "1", "2", "1.5", "s"])
        self.assertEqual(found["all"], ["2", "51", "1", "2", "3.0", "s"])

    def test_the_last_count_of_a_suite_is_its_own(self):
        found = rows(case("uring", "All tests passed (1 assertion in 1 test case)\n"
                          "test cases:   3 |   2 passed | 1 skipped\n"))
        self.assertEqual(found["uring"][1:4], ["2", "0", "1"])

    def test_seeds_are_added_up(self):
        found = rows(case("faulty-epoll-1", "All tests passed (9 assertions in 5 test cases)\n"),
                     case("faulty-epoll-2", "All tests passed (9 assertions in 6 test cases)\n"))
        self.assertEqual(found["faulty-epoll"], ["2", "11", "0", "0", "3.0", "s"])

    def test_what_counts_no_cases_is_one(self):
        found = rows(case("style", ""), case("headers", "x.hpp:1: y\n", "fail"))
        self.assertEqual(found["style"][1:4], ["1", "0", "0"])
        self.assertEqual(found["headers"][1:4], ["0", "1", "0"])

    def test_a_suite_that_was_killed_has_failed(self):
        found = rows(case("uring", "Filters: x\n", "fail", "<failure/>"))
        self.assertEqual(found["uring"][1:4], ["0", "1", "0"])
        self.assertIn("uring", found["uring"][6])

    def test_a_suite_that_was_not_found_has_failed(self):
        found = rows(case("uring", "", "notrun", '<skipped message="Unable to find executable"/>'))
        self.assertEqual(found["uring"][1:4], ["0", "1", "0"])

    def test_a_skipped_suite_says_why(self):
        found = rows(case("uring", "skipped: no ring here\n", "notrun",
                          '<skipped message="SKIP_RETURN_CODE=77"/>'))
        self.assertEqual(found["uring"][1:4], ["0", "0", "1"])
        self.assertEqual(found["uring"][6], "no ring here")


if __name__ == "__main__":
    unittest.main()
