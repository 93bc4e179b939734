"""System calls of a server for each message: by a counter of the kernel, or by strace.

Both count all threads of the server and nothing else. What it costs to accept and to close
is in both of two runs of different length, and cancels out in their difference.
"""
import ctypes
import os
import platform
import re
import shutil
import struct
import tempfile
import time

from server import LIBC, Server

TRACEPOINT = "events/raw_syscalls/sys_enter/id"
TRACING = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
PERF_TYPE_TRACEPOINT = 2
ATTRIBUTE_SIZE = 128
INHERIT = 1 << 1
PERF_FLAG_FD_CLOEXEC = 8


def open_counter(thread):
    """A descriptor that counts entries into the kernel, of a thread and those it will start."""
    for folder in TRACING:
        try:
            with open(os.path.join(folder, TRACEPOINT)) as file:
                tracepoint = int(file.read())
            break
        except OSError:
            continue
    else:
        raise OSError("no tracepoint")
    attribute = bytearray(ATTRIBUTE_SIZE)
    struct.pack_into("=IIQ", attribute, 0, PERF_TYPE_TRACEPOINT, ATTRIBUTE_SIZE, tracepoint)
    struct.pack_into("=Q", attribute, 40, INHERIT)
    opened = LIBC.syscall(PERF_EVENT_OPEN[platform.machine()],
                          (ctypes.c_char * ATTRIBUTE_SIZE).from_buffer(attribute),
                          thread, -1, -1, PERF_FLAG_FD_CLOEXEC)
    if opened < 0:
        raise OSError(ctypes.get_errno(), "perf_event_open")
    return opened


def kernel_counts():
    try:
        os.close(open_counter(0))
        return True
    except (OSError, KeyError):
        return False


def how():
    """How system calls can be counted here: "perf", "strace" or None."""
    if kernel_counts():
        return "perf"
    return "strace" if shutil.which("strace") else None


def by_kernel(variant, built, core, run):
    """Entries into the kernel while run(server) runs, and what that returns."""
    with Server(variant, built, core) as server:
        threads = os.listdir(f"/proc/{server.process.pid}/task")
        counters = [open_counter(int(thread)) for thread in threads]
        try:
            messages = run(server)
            # With inherited threads that have ended.
            return sum(struct.unpack("=Q", os.read(each, 8))[0] for each in counters), messages
        finally:
            for each in counters:
                os.close(each)


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
                return int(found[1]), messages
            time.sleep(0.02)
    raise OSError("strace wrote no count")


def per_message(little, much):
    """From (calls, messages) of a short run and of a longer one; None where they tell nothing."""
    (calls, messages), (more_calls, more_messages) = little, much
    if more_messages <= messages or more_calls < calls:
        return None
    return (more_calls - calls) / (more_messages - messages)


def count(method, variant, built, core, run, lengths):
    """System calls a message; run(server, seconds) returns how many messages there were."""
    counted = by_kernel if method == "perf" else by_strace
    return per_message(*(counted(variant, built, core, lambda server: run(server, seconds))
                         for seconds in lengths))
