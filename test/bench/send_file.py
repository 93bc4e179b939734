#!/usr/bin/env python3
"""A file to a socket: send_file() against sendfile(2) in a blocking server, interleaved.

Each round has each server send the file once, to a client that drops what it gets. The figure is
the CPU time of all threads of the server for it, kernel included; over loopback that is also the
work of receiving, in part. The summary has the median of the paired ratios and the interval of
their mean (95 %). --cold takes the file out of memory before each transfer.
"""
import argparse
import os
import random
import socket
import statistics
import sys
import tempfile
import time

from compare import ratio
from echo_server import ServerProcess, enter_namespace
from figures import CORES

# recv(2) with it drops the bytes on TCP, without copying them.
DROP = socket.MSG_TRUNC


def cpu_seconds(process):
    total = 0
    for thread in os.listdir(f"/proc/{process}/task"):
        with open(f"/proc/{process}/task/{thread}/schedstat") as file:
            total += int(file.read().split()[0])
    return total / 1e9


def transfer(options, command, size):
    """One file: CPU seconds and seconds."""
    with ServerProcess(command, CORES[0], batch=True) as server:
        # Its first turns, and the pages of the program, are not what is measured.
        fetch(server.port, 1 << 20)
        if options.cold:
            with open(options.file, "rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        before = cpu_seconds(server.process.pid)
        begin = time.monotonic()
        got = fetch(server.port)
        seconds = time.monotonic() - begin
        if got != size:
            raise RuntimeError(f"{got} of {size} bytes came")
        time.sleep(0.05)  # what is left to do after the last byte
        return cpu_seconds(server.process.pid) - before, seconds


def fetch(port, most=None):
    got = 0
    room = bytearray(1 << 20)
    with socket.create_connection(("127.0.0.1", port)) as client:
        while most is None or got < most:
            count = client.recv_into(room, 0, DROP)
            if count == 0:
                break
            got += count
    return got


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", help="the build folder's test/bench")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--size", type=int, default=1 << 30, help="of the file (%(default)s)")
    parser.add_argument("--cold", action="store_true")
    options = parser.parse_args()
    if not enter_namespace():
        print("not root: sharing the network namespace, expect a wider spread", file=sys.stderr)
    os.sched_setaffinity(0, {CORES[-1]})
    with tempfile.NamedTemporaryFile() as file:
        block = os.urandom(1 << 20)
        for _ in range(options.size >> 20):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        options.file = file.name
        servers = {name: [f"{options.build}/{name}", "PORT", file.name]
                   for name in ("blocking_sendfile", "send_file_server")}
        cpu = {name: [] for name in servers}
        seconds = {name: [] for name in servers}
        for _ in range(options.rounds):
            for name in random.sample(list(servers), len(servers)):
                used, took = transfer(options, servers[name], options.size)
                cpu[name].append(used)
                seconds[name].append(took)
    for name in servers:
        print(f"{name:20} {statistics.median(cpu[name]) * 1e3:9.1f} ms of CPU "
              f"{min(cpu[name]) * 1e3:9.1f} .. {max(cpu[name]) * 1e3:<9.1f} "
              f"{statistics.median(seconds[name]) * 1e3:9.1f} ms")
    for title, values in (("CPU", cpu), ("time", seconds)):
        paired = ratio(values["send_file_server"], values["blocking_sendfile"])
        print(f"{title}: {paired['median']:.3f}  [{paired['low']:.3f}, {paired['high']:.3f}]")


if __name__ == "__main__":
    main()
