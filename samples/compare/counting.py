"""System calls of a server for each message: by a counter of the kernel, or by strace. With the
former its context switches, too, of those threads as well that have ended meanwhile.

Both count all threads of the server and nothing else. What it costs to accept and to close
is in both of two runs of different length, and cancels out in their difference.
"""
import contextlib
import ctypes
import functools
import os
import platform
import re
import struct
import subprocess
import tempfile
import time

from server import LIBC, Server

TRACEPOINT = "events/raw_syscalls/sys_enter/id"
TRACING = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
PERF_TYPE_SOFTWARE, PERF_TYPE_TRACEPOINT = 1, 2
PERF_COUNT_SW_CONTEXT_SWITCHES = 3
ATTRIBUTE_SIZE = 128
INHERIT = 1 << 1
PERF_FLAG_FD_CLOEXEC = 8


def system_calls():
    """The event of an entry into the kernel: its type and its number."""
    for folder in TRACING:
        try:
            with open(os.path.join(folder, TRACEPOINT)) as file:
                return PERF_TYPE_TRACEPOINT, int(file.read())
        except OSError:
            continue
    raise OSError("no tracepoint")


def context_switches():
    return PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CONTEXT_SWITCHES


def open_counter(event, thread):
    """A descriptor that counts such events of a thread and of those it will start."""
    kind, number = event
    attribute = bytearray(ATTRIBUTE_SIZE)
    struct.pack_into("=IIQ", attribute, 0, kind, ATTRIBUTE_SIZE, number)
    struct.pack_into("=Q", attribute, 40, INHERIT)
    opened = LIBC.syscall(PERF_EVENT_OPEN[platform.machine()],
                          (ctypes.c_char * ATTRIBUTE_SIZE).from_buffer(attribute),
                          thread, -1, -1, PERF_FLAG_FD_CLOEXEC)
    if opened < 0:
        raise OSError(ctypes.get_errno(), "perf_event_open")
    return opened


def kernel_counts():
    try:
        for event in (system_calls(), context_switches()):
            os.close(open_counter(event, 0))
        return True
    except (OSError, KeyError):
        return False


def strace_counts():
    """Whether strace is there and may trace: a container or a security module can forbid it."""
    try:
        done = subprocess.run(["strace", "-o", "/dev/null", "true"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


@functools.cache
def how():
    """How system calls can be counted here: "perf", "strace" or None."""
    if kernel_counts():
        return "perf"
    return "strace" if strace_counts() else None


def by_kernel(variant, built, core, run):
    """Entries into the kernel and context switches while run(server) runs, and what that returns."""
    events = (system_calls(), context_switches())
    with Server(variant, built, core) as server, contextlib.ExitStack() as opened:
        counters = []
        for event in events:
            counters.append([])
            for thread in os.listdir(f"/proc/{server.process.pid}/task"):
                counters[-1].append(open_counter(event, int(thread)))
                opened.callback(os.close, counters[-1][-1])
        messages = run(server)
        # With inherited threads that have ended.
        return (*(sum(struct.unpack("=Q", os.read(each, 8))[0] for each in kind)
                  for kind in counters), messages)


def by_strace(variant, built, core, run):
    with tempfile.TemporaryDirectory() as folder:
        table = os.path.join(folder, "table")
        # -D: the server is our child, not strace's, and gets the signal that ends it.
        wrapper = ("strace", "-D", "-f", "-c", "-U", "calls,name", "-o", table)
        with Server(variant, built, core, wrapper) as server:
            messages = run(server)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            with open(table) as file:
                found = re.search(r"^\s*(\d+)\s+total", file.read(), re.MULTILINE)
            if found:
                return int(found[1]), None, messages
            time.sleep(0.02)
    raise OSError("strace wrote no count")


def per_message(little, much):
    """From (events, messages) of a short run and of a longer one; None where they tell nothing."""
    (events, messages), (more_events, more_messages) = little, much
    if None in (events, more_events) or more_messages <= messages or more_events < events:
        return None
    return (more_events - events) / (more_messages - messages)


def count(method, variant, built, core, run, lengths):
    """The figures of a message as a row; run(server, seconds) returns how many messages there
    were."""
    counted = by_kernel if method == "perf" else by_strace
    runs = [counted(variant, built, core, lambda server: run(server, seconds))
            for seconds in lengths]
    calls, switches = (per_message(*((each[index], each[-1]) for each in runs))
                       for index in (0, 1))
    return {"calls_per_message": calls, "switches_per_message": switches}
