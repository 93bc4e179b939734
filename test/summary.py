#!/usr/bin/env python3
"""The table at the end of test/run: `summary.py RESULTS`, what `ctest --output-junit` has written.

One line for each suite, the seeds of one engine added up: how many test cases passed, failed and
were skipped, and how long they ran. A suite that counts no cases is one case itself.
"""
import argparse
import re
import sys
import xml.etree.ElementTree

CASES = re.compile(r"^test cases: +\d+ \| (.*)$", re.MULTILINE)
ALL_PASSED = re.compile(r"^All tests passed \(\d+ assertions? in (\d+) test cases?\)$", re.MULTILINE)
PARTS = re.compile(r"(\d+) (passed|failed|skipped)(?! as)")


class Suite:
    def __init__(self):
        self.runs = self.passed = self.failed = self.skipped = 0
        self.seconds = 0.0
        self.remarks = []

    def add(self, other):
        self.runs += other.runs
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.seconds += other.seconds

    def add_remark(self, remark):
        if remark not in self.remarks:
            self.remarks.append(remark)


def count_cases(output):
    """(passed, failed, skipped) as Catch2's last line says, None where there is none."""
    found = None
    for match in ALL_PASSED.finditer(output):
        found = (match.end(), (int(match[1]), 0, 0))
    for match in CASES.finditer(output):
        if found is None or match.start() > found[0]:
            counts = dict((word, int(number)) for number, word in PARTS.findall(match[1]))
            found = (match.end(), tuple(counts.get(word, 0)
                                        for word in ("passed", "failed", "skipped")))
    return None if found is None else found[1]


def read_run(test):
    run = Suite()
    run.runs = 1
    run.seconds = float(test.get("time", "0"))
    output = test.findtext("system-out") or ""
    status = test.get("status")
    missing = test.find("skipped")
    message = missing.get("message", "") if missing is not None else status
    if status == "disabled" or message.startswith("SKIP_"):
        run.skipped = 1
        reason = re.search(r"^skipped: (.*)$", output, re.MULTILINE)
        run.add_remark(reason[1] if reason else message)
        return run
    counts = count_cases(output)
    run.passed, run.failed, run.skipped = counts or (0, 0, 0)
    if status == "run":
        run.passed += counts is None
    elif run.failed == 0:
        # It was killed, or failed in what is no test case.
        run.failed = 1
        run.add_remark(f"{test.get('name')}: " +
                       (message if status == "notrun" else "failed outside of its test cases"))
    return run


def read_suites(path):
    suites = {}
    for test in xml.etree.ElementTree.parse(path).getroot().iter("testcase"):
        name = re.sub(r"-\d+$", "", test.get("name"))
        run = read_run(test)
        suite = suites.setdefault(name, Suite())
        suite.add(run)
        for remark in run.remarks:
            suite.add_remark(remark)
    return suites


def table(suites):
    everything = Suite()
    for suite in suites.values():
        everything.add(suite)
    width = max(len(name) for name in [*suites, "suite"])
    yield f"{'suite':{width}}  runs   passed   failed  skipped       time"
    for name, suite in [*sorted(suites.items()), ("all", everything)]:
        line = (f"{name:{width}}  {suite.runs:4}  {suite.passed:7}  {suite.failed:7}  "
                f"{suite.skipped:7}  {suite.seconds:7.1f} s")
        yield "  ".join([line, "; ".join(suite.remarks)]).rstrip()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("results")
    suites = read_suites(parser.parse_args().results)
    if not suites:
        sys.exit("summary.py: no test was run")
    print("\n".join(table(suites)))


if __name__ == "__main__":
    main()
