#!/usr/bin/env python3
"""What a delivered chat line costs: rounds of chat servers under the same load.

As in compare.py, server and load share one core under SCHED_BATCH, every round runs all servers in
a random order in a network namespace of their own, and ratios are taken within a round.
"""
import argparse
import os
import random
import shlex
import statistics
import sys

from compare import ratio
from echo_server import ServerProcess, enter_namespace, raise_descriptor_limit
from figures import CORES, ROOT, run_load

BENCH = os.path.join(ROOT, "build", "bench")
LOAD = os.path.join(BENCH, "test", "bench", "chat_load")
SERVERS = {
    "raw_chat_epoll": os.path.join(BENCH, "test", "bench", "raw_chat_epoll") + " PORT",
    "chat_server": os.path.join(BENCH, "samples", "chat_server") + " --lines 127.0.0.1:PORT",
}
# Row: arguments of the load, the limit of the ratio.
ROWS = {
    "one line": (("--senders", 1), 1.05),
    "four lines at once": (("--senders", 1, "--burst", 4), None),
    "eight senders": (("--senders", 8, "--burst", 4), 0.6),
}


def measure(options, row, command):
    with ServerProcess(command, CORES[0], batch=True) as server:
        return run_load(options.load, server, "--recipients", options.recipients, *ROWS[row][0],
                        "--seconds", options.seconds, "--pid", server.process.pid)


def run_row(options, row):
    """Prints the row; whether it keeps its limit."""
    costs = {name: [] for name in options.servers}
    for _ in range(options.rounds):
        order = list(options.servers)
        random.shuffle(order)
        for name in order:
            costs[name].append(measure(options, row, options.servers[name])["server_cpu_us"])
    reference = next(iter(options.servers))
    good = True
    for name, values in costs.items():
        text = (f"{row:20} {name:16} {statistics.median(values):8.3f} "
                f"{min(values):8.3f} .. {max(values):<8.3f}")
        if name != reference:
            paired, limit = ratio(values, costs[reference]), ROWS[row][1]
            text += f" {paired['median']:6.3f}"
            if paired["low"] is not None:
                text += f"  [{paired['low']:.3f}, {paired['high']:.3f}]"
            if limit is not None:
                kept = paired["median"] <= limit
                good &= kept
                text += f"  {limit:g}" + ("" if kept else " MISSED")
        print(text, flush=True)
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)} (all)")
    parser.add_argument("--server", action="append", default=[], metavar="NAME=COMMAND",
                        help="one more; PORT in its command stands for the port")
    parser.add_argument("--recipients", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.4, help="measured, a round")
    parser.add_argument("--load", default=LOAD, help="the load generator (%(default)s)")
    options = parser.parse_args()
    for row in options.rows:
        if row not in ROWS:
            parser.error(f"no such row: {row}")
    options.servers = {name: shlex.split(command) for name, command in SERVERS.items()}
    for server in options.server:
        name, equals, command = server.partition("=")
        if not equals or "PORT" not in command:
            parser.error(f"not NAME=COMMAND with a PORT in it: {server}")
        options.servers[name] = shlex.split(command)
    if not enter_namespace():
        print("not root: sharing the network namespace, expect a wider spread", file=sys.stderr)
    raise_descriptor_limit()
    print(f"{'row':20} {'server':16} {'us/line':>8} {'min':>8} .. {'max':8} {'ratio':>6}  "
          "95 % of the mean, at most")
    good = [run_row(options, row) for row in options.rows or ROWS]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
