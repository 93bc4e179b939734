#!/usr/bin/env python3
"""Checks that docs/seccomp.json allows what rondo needs, on both engines, and nothing else.

`profile_test.py --samples DIR --suite PROGRAM --gate PROGRAM`: the built samples, test suite and
uring_gate.
"""
import argparse
import itertools
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import confine
import workload

HERE = pathlib.Path(__file__).resolve().parent
PROFILE = HERE.parents[1] / "docs" / "seccomp.json"
CONFINE = [sys.executable, HERE / "confine.py"]
RUNTIME = "what runc does"  # begins the comment of the entry that is not rondo's

# In the profile, although these samples in this place do not come to it.
NOT_PROVOKED = {
    "a page cache that lacks a file's end": ["cachestat"],
    "the file of a Unix server with permissions of its own": ["chmod", "fchmod"],
    "a processor whose clock is no vDSO's": ["clock_gettime"],
    "a relative path of a Unix server": ["getcwd"],
    "a Unix server in place of one that was killed a moment ago": ["kill"],
    "file::sync and requests the kernel gives no room for": ["fsync", "fadvise64"],
    "a forbidden ring, whose cause is looked for": ["getegid", "getgroups", "lseek"],
    "a vector that outgrows what malloc maps": ["mremap"],
    "a stop and a continuation": ["restart_syscall"],
    "a peer that is gone while a file is sent to it": ["rt_sigtimedwait"],
    "run({.threads = 0})": ["sched_getaffinity"],
    "a handler that runs while its interruption ends": ["sched_yield"],
    "a name that has to be asked for": ["sendmmsg", "uname"],
    "a second signal": ["getpid", "gettid", "tgkill"],
}
# The C library makes one of them do, by its release.
ONE_OF = [{"access", "faccessat", "faccessat2"}, {"fstat", "newfstatat"},
          {"readlink", "readlinkat"}]

# Those of Catch2, and of the suite's watch for tests that hang.
SUITE_ALSO = ["--also", "sigaltstack", "--also", "timer_create", "--also", "timer_settime"]

given = argparse.Namespace()


def has_ring():
    return subprocess.run([given.gate, "/bin/true"], stdout=subprocess.DEVNULL).returncode == 0


def profile():
    with open(PROFILE, encoding="utf-8") as file:
        return json.load(file)


def confined(*options):
    return [*CONFINE, *options, PROFILE]


def calls_in(trace):
    """The system calls behind the one that set the filter."""
    with open(trace, encoding="utf-8", errors="replace") as file:
        text = file.read()
    begin = text.index("PR_SET_SECCOMP")
    return set(re.findall(r"^\d+ +(\w+)\(", text[begin:], re.MULTILINE))


def may_trace():
    return shutil.which("strace") is not None and subprocess.run(
        ["strace", "-o", "/dev/null", "/bin/true"], stderr=subprocess.DEVNULL).returncode == 0


class ProfileTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="rondo_profile_")
        self.addCleanup(self.folder.cleanup)
        self.engines = ["uring", "epoll"] if has_ring() else ["epoll"]

    def run_everything(self, engine, prefix):
        place = pathlib.Path(self.folder.name) / engine
        place.mkdir()
        workload.everything(workload.Programs(given.samples, engine, prefix), place)

    def echo(self, engine, *options):
        programs = workload.Programs(given.samples, engine, lambda: confined(*options))
        return workload.echo_over_tcp(programs)

    def test_samples_call_what_is_allowed_and_all_of_it(self):
        """What is not allowed ends the program, and what nobody calls is not in the profile."""
        traces = pathlib.Path(self.folder.name) / "traces"
        traces.mkdir()
        number = itertools.count()
        tracing = may_trace()

        def prefix():
            trace = ["strace", "-D", "-f", "-qq", "-o", traces / str(next(number))]
            return [*(trace if tracing else []), *confined("--kill")]

        for engine in self.engines:
            with self.subTest(engine=engine):
                self.run_everything(engine, prefix)
        if not tracing or len(self.engines) == 1:
            self.skipTest("needs strace and a ring to see that nothing is left over")
        made = set().union(*map(calls_in, traces.iterdir()))
        entries = profile()
        entries["syscalls"] = [entry for entry in entries["syscalls"]
                               if not entry.get("comment", "").startswith(RUNTIME)]
        expected = confine.allowed(entries)
        for forms in ONE_OF:
            self.assertTrue(forms & made, forms)
            expected -= forms - made
        excused = set(itertools.chain.from_iterable(NOT_PROVOKED.values()))
        self.assertEqual(sorted(expected - made - excused), [], "in the profile for nothing")

    def test_the_echo_part_of_the_suite_passes(self):
        for engine in self.engines:
            with self.subTest(engine=engine):
                ended = subprocess.run(
                    [*confined("--kill", *SUITE_ALSO), given.suite, "[echo]"],
                    env={**os.environ, "RONDO_ENGINE": engine}, capture_output=True, text=True,
                    timeout=300)
                self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
                self.assertIn("All tests passed", ended.stdout)

    def test_each_call_of_the_echo_is_needed(self):
        """With any of these left out the same echo fails."""
        needed = {"uring": ["io_uring_setup", "io_uring_enter", "io_uring_register"],
                  "epoll": ["epoll_create1", "accept4", "recvfrom", "sendto"]}
        for engine in self.engines:
            for name in [*needed[engine], "socket", "bind", "listen", "eventfd2"]:
                with self.subTest(engine=engine, without=name):
                    with self.assertRaises((AssertionError, OSError)):
                        self.echo(engine, "--without", name)

    def test_without_the_rings_calls_auto_is_epoll(self):
        rings = ["io_uring_setup", "io_uring_enter", "io_uring_register"]
        said = self.echo("auto", *(f"--without={name}" for name in rings))
        self.assertTrue(said.startswith("rondo: using epoll instead of io_uring: "), said)

    def test_a_call_that_is_not_in_the_profile_fails(self):
        """The filter is in force: without this, all of the above would prove nothing."""
        ended = subprocess.run([*confined(), shutil.which("mkdir"),
                                pathlib.Path(self.folder.name) / "new"],
                               capture_output=True, text=True)
        self.assertIn("Operation not permitted", ended.stderr)
        ended = subprocess.run([*confined("--kill"), shutil.which("mkdir"),
                                pathlib.Path(self.folder.name) / "new"], capture_output=True)
        self.assertEqual(ended.returncode, -31)  # SIGSYS


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    for name in ("samples", "suite", "gate"):
        parser.add_argument(f"--{name}", required=True)
    rest = parser.parse_known_args(namespace=given)[1]
    if platform.machine() != "x86_64":
        print("skipped: the profile is for x86-64")
        sys.exit(77)
    unittest.main(argv=[sys.argv[0], *rest])


if __name__ == "__main__":
    main()
