#!/usr/bin/env python3
"""Runs what pages tell a reader to type, exactly as written: `run_blocks.py FILE...`, in the tree
that is the current directory.

A block of sh with one of these lines right above it is run, by bash -e:

    <!-- run -->              must end with 0
    <!-- run: fails -->       must end with anything else
    <!-- run: background -->  one command, a server: it runs while the blocks below it do, and before
                              the next heading (or the page's end) gets SIGINT, as by Ctrl-C; then
                              it must end with 0
    <!-- not run: why -->     is left out, and says why

A block of sh has one of them, or the page is wrong.

A block of text right behind it is what it prints, both streams together: the output must end with
these lines. A line of three dots stands for any number of lines, and three dots within a line for
any text. Lines that name [::1] are not expected on a host without IPv6. A background block needs
one: the blocks below it are run when the first of its lines has been printed.

Ends with 1 where something was not as written, and says where; the rest of that page is not run.
"""
import argparse
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

RUN = re.compile(r"<!-- run(?:: (?P<how>background|fails))? -->")
LEFT_OUT = re.compile(r"<!-- not run: (?P<why>\S.*) -->")
DOTS = "..."


class Failure(Exception):
    def __init__(self, line, message, output=""):
        super().__init__(message)
        self.line, self.output = line, output


class Step:
    """What a page has to run: a block, or a heading, where `how` is None. One that is left out
    has the reason as its command."""

    def __init__(self, line, how=None, command="", expected=None):
        self.line, self.how, self.command, self.expected = line, how, command, expected


def fenced(lines, first):
    """The index behind the block that begins at `first`, and its lines."""
    for last in range(first + 1, len(lines)):
        if lines[last].startswith("```"):
            return last + 1, lines[first + 1:last]
    raise Failure(first + 1, "a block without its end")


def expectation(lines, index):
    """The lines of a block of text at or behind `index`, nothing but blank lines between."""
    while index < len(lines) and not lines[index].strip():
        index += 1
    if index < len(lines) and lines[index].strip() == "```text":
        return fenced(lines, index)[1]
    return None


def steps(text):
    lines = text.split("\n")
    index = 0
    while index < len(lines):
        marked = RUN.fullmatch(lines[index].strip())
        left_out = LEFT_OUT.fullmatch(lines[index].strip())
        if left_out and lines[index + 1:index + 2] == ["```sh"]:
            yield Step(index + 1, "left out", left_out["why"])
            index, _ = fenced(lines, index + 1)
        elif marked:
            if index + 1 == len(lines) or lines[index + 1].strip() != "```sh":
                raise Failure(index + 1, "a run line that no block of sh follows")
            behind, command = fenced(lines, index + 1)
            expected = expectation(lines, behind)
            yield Step(index + 1, marked["how"] or "succeeds", "\n".join(command), expected)
            index = behind
        elif lines[index].startswith("```sh"):
            raise Failure(index + 1, "a block of sh that neither is run nor says why not")
        elif lines[index].startswith("```"):
            index, _ = fenced(lines, index)
        else:
            if lines[index].startswith("#"):
                yield Step(index + 1)
            index += 1


# ---- what is printed, against what is written

def pattern(line):
    return ".*".join(re.escape(part) for part in line.split(DOTS))


def expected_here(expected, has_ipv6):
    return [line for line in expected if has_ipv6 or "[::1]" not in line]


def matches(expected, output):
    """Whether the lines of `output` end with those of `expected`."""
    whole = r"(?:[^\n]*\n)*"
    for line in expected:
        whole += r"(?:[^\n]*\n)*" if line.strip() == DOTS else pattern(line.rstrip()) + r"[ ]*\n"
    if output and not output.endswith("\n"):
        output += "\n"
    return re.fullmatch(whole, output) is not None


def first_line(expected):
    for line in expected:
        if line.strip() != DOTS:
            return re.compile("^" + pattern(line.rstrip()) + "[ ]*$", re.MULTILINE)
    return None


def host_has_ipv6():
    try:
        return "00000000000000000000000000000001" in pathlib.Path("/proc/net/if_inet6").read_text()
    except OSError:
        return False


# ---- running

told_to_end = False


def note_end(*_):
    """SIGTERM's handler. Not an exception: one can come while a job is begun, which would outlive
    this, or where Python drops it."""
    global told_to_end
    told_to_end = True


def pause():
    if told_to_end:
        sys.exit("run_blocks.py: told to end")
    time.sleep(0.01)


class Program:
    """A block that runs, as a job of its own, so that signals reach all of it."""

    def __init__(self, step, has_ipv6):
        self.step = step
        self.expected = None if step.expected is None else expected_here(step.expected, has_ipv6)
        self.file = tempfile.TemporaryFile()
        # SIGINT is not to be ignored, as it is in what a shell has started in the background.
        self.process = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", step.command], stdin=subprocess.DEVNULL,
            stdout=self.file, stderr=subprocess.STDOUT, start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))

    def output(self):
        # By its own position: the program writes at the one that it shares with this file.
        size = os.fstat(self.file.fileno()).st_size
        return os.pread(self.file.fileno(), size, 0).decode(errors="replace")

    def fail(self, message):
        self.kill()
        raise Failure(self.step.line, message, self.output())

    def kill(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    def wait(self, seconds):
        until = time.monotonic() + seconds
        while self.process.poll() is None:
            if time.monotonic() > until:
                self.fail(f"did not end within {seconds:g} s")
            pause()
        self.kill()  # what it may have left behind
        return self.process.returncode

    def wait_until_ready(self, seconds):
        ready = first_line(self.expected or [])
        if ready is None:
            self.fail("a server needs a block of text, for one to know when it serves")
        until = time.monotonic() + seconds
        while not ready.search(self.output()):
            code = self.process.poll()
            if code is not None:
                self.fail(f"ended with {code} before it had printed its first line")
            if time.monotonic() > until:
                self.fail(f"did not print its first line within {seconds:g} s")
            pause()

    def check_end(self, code):
        if (code == 0) == (self.step.how == "fails"):
            self.fail(f"ended with {code}")
        if self.expected is not None and not matches(self.expected, self.output()):
            self.fail("printed something else than is written; that was")

    def interrupt(self, seconds):
        if self.process.poll() is not None:
            self.fail(f"ended by itself, with {self.process.returncode}")
        os.killpg(self.process.pid, signal.SIGINT)
        self.check_end(self.wait(seconds))


def run_page(text, timeout, patience=20.0, has_ipv6=None, report=print, show=False):
    """Runs the blocks of a page in their order; returns how many. `show`: what they print, too."""
    has_ipv6 = host_has_ipv6() if has_ipv6 is None else has_ipv6
    servers, files, count = [], [], 0
    try:
        for step in [*steps(text), Step(text.count("\n") + 1)]:
            if step.how is None:
                while servers:
                    servers[-1].interrupt(patience)
                    servers.pop()
                continue
            if step.how == "left out":
                report(f"line {step.line}: not run: {step.command}")
                continue
            count += 1
            report(f"line {step.line}: {step.command}")
            program = Program(step, has_ipv6)
            servers.append(program)
            files.append(program.file)
            if step.how == "background":
                program.wait_until_ready(timeout)
            else:
                code = program.wait(timeout)
                if show:
                    print(program.output(), end="", flush=True)
                program.check_end(code)
                servers.pop()
        return count
    finally:
        for each in servers:
            each.kill()
        for each in files:
            each.close()


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("pages", metavar="FILE", nargs="+", type=pathlib.Path)
    arguments.add_argument("--timeout", type=float, default=900,
                           help="seconds that a block may take, building included")
    arguments.add_argument("--show", action="store_true",
                           help="print what the blocks print, servers' excepted")
    given = arguments.parse_args()
    # Jobs of their own outlive this one, unless it ends in order.
    signal.signal(signal.SIGTERM, note_end)
    failed = 0
    for page in given.pages:
        try:
            began = time.monotonic()
            count = run_page(page.read_text(), given.timeout, show=given.show,
                             report=lambda text, page=page: print(f"{page}, {text}", flush=True))
            print(f"{page}: {count} blocks did what is written, in "
                  f"{time.monotonic() - began:.1f} s", flush=True)
        except Failure as failure:
            failed += 1
            print(f"{page}:{failure.line}: {failure}", flush=True)
            print("".join(f"    {line}\n" for line in failure.output.split("\n")), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
