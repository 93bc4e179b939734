#!/usr/bin/env python3
"""Interleaved rounds of several echo servers under the same load.

The figure that repeats is the server's CPU time per message, as a ratio to the reference in the
same round: server and load share one core under SCHED_BATCH, every round runs all servers in a
random order, and the interval is that of the mean of the logarithms of the paired ratios (Student's
t, 95 %). A difference counts when the interval excludes 1.
"""
import argparse
import json
import math
import random
import shlex
import statistics
import subprocess
import sys

from echo_server import ServerProcess, enter_namespace, raise_descriptor_limit
from figures import CORES, DEFAULT_LOAD, idle_memory, run_load

SCENARIOS = {
    "1": ("--connections", 1),
    "16": ("--connections", 16),
    "128": ("--connections", 128),
    "1000": ("--connections", 1000),
    "128x4k": ("--connections", 128, "--size", 4096),
    "accept": ("--mode", "accept", "--connections", 32),
    "idle": None,
    "udp": ("--mode", "udp", "--connections", 128),
}
# Those of the same servers: the others want servers of their own.
USUAL = [name for name in SCENARIOS if name != "udp"]
# Two-sided 95 % quantiles of Student's t by degrees of freedom; past the table 1.96 + 2.5 / n is
# right to three digits.
STUDENT = (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
           2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086)


def student(freedom):
    return STUDENT[freedom - 1] if freedom <= len(STUDENT) else 1.96 + 2.5 / freedom


def measure(options, scenario, command):
    """One server, one scenario, once: the report of the load generator."""
    if scenario == "idle":
        return {"bytes_per_connection": idle_memory(options.load, command, options.idle)}
    with ServerProcess(command, CORES[0], batch=True) as server:
        return run_load(options.load, server, *SCENARIOS[scenario], "--seconds", options.seconds,
                        "--warm-up", 0.15, "--pid", server.process.pid)


def ratio(values, reference):
    """Median and mean of the paired ratios, and the interval of the mean."""
    logs = [math.log(value / other) for value, other in zip(values, reference)
            if value and other and value > 0 and other > 0]
    if not logs:
        return None
    mean = statistics.fmean(logs)
    half = math.inf
    if len(logs) > 1:
        half = student(len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    bound = lambda log: math.exp(log) if math.isfinite(log) else None
    return {"median": math.exp(statistics.median(logs)), "mean": math.exp(mean),
            "low": bound(mean - half), "high": bound(mean + half)}


def run_scenario(options, scenario, emit):
    """All rounds of one scenario: server name -> one report per round, None where it failed."""
    reports = {name: [] for name in options.servers}
    for turn in range(options.rounds):
        order = list(options.servers)
        random.shuffle(order)
        for name in order:
            try:
                report = measure(options, scenario, options.servers[name])
                emit({"scenario": scenario, "server": name, "round": turn, **report})
            except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
                report = None
                emit({"scenario": scenario, "server": name, "round": turn, "error": str(error)})
                print(f"{name} in {scenario}: {error}", file=sys.stderr, flush=True)
            reports[name].append(report)
    return reports


def summarise(options, scenario, reports, emit):
    key = "bytes_per_connection" if scenario == "idle" else "server_cpu_us"
    unit = "bytes a connection" if scenario == "idle" else "us of server CPU a message"
    print(f"\n{scenario}: {unit}, {options.rounds} rounds")
    print(f"{'server':20} {'median':>9} {'min':>9} .. {'max':<9} {'rate/s':>9} {'p99 us':>9}"
          f"   ratio to {options.reference}: median, 95 % of the mean")
    values = {name: [report and report.get(key) for report in rounds]
              for name, rounds in reports.items()}
    for name, rounds in reports.items():
        good = [value for value in values[name] if value is not None]
        if not good:
            print(f"{name:20} failed")
            continue
        median_of = lambda field: statistics.median(
            [report[field] for report in rounds if report and field in report] or [0])
        paired = ratio(values[name], values[options.reference])
        summary = {"scenario": scenario, "server": name, "summary": key,
                   "rounds": len(good), "median": statistics.median(good), "min": min(good),
                   "max": max(good), "rate": median_of("rate"), "p99_us": median_of("p99_us"),
                   "reference": options.reference, "ratio": paired}
        emit(summary)
        line = (f"{name:20} {summary['median']:9.3f} {summary['min']:9.3f} .. "
                f"{summary['max']:<9.3f} {summary['rate']:9.0f} {summary['p99_us']:9.1f}")
        if paired and name != options.reference:
            line += f"   {paired['median']:.3f}"
            if paired["low"] is not None:
                line += f"  [{paired['low']:.3f}, {paired['high']:.3f}]"
        print(line, flush=True)
    return all(value is not None for rounds in values.values() for value in rounds)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", action="append", required=True, metavar="NAME=COMMAND",
                        help="a server; PORT in its command stands for the port; give several")
    parser.add_argument("--reference", metavar="NAME", help="what ratios are to (the first)")
    parser.add_argument("--scenario", default=",".join(USUAL), metavar="NAME[,NAME...]",
                        help=f"of {','.join(SCENARIOS)} (%(default)s)")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.4, help="measured, a round")
    parser.add_argument("--idle", type=int, default=9500, metavar="N", help="idle connections")
    parser.add_argument("--load", default=DEFAULT_LOAD, help="the load generator (%(default)s)")
    parser.add_argument("--json", metavar="FILE", help="append every round and summary as a line")
    options = parser.parse_args()
    options.servers = {}
    for server in options.server:
        name, equals, command = server.partition("=")
        if not equals or "PORT" not in command:
            parser.error(f"not NAME=COMMAND with a PORT in it: {server}")
        options.servers[name] = shlex.split(command)
    options.reference = options.reference or next(iter(options.servers))
    if options.reference not in options.servers:
        parser.error(f"no such server: {options.reference}")
    options.scenarios = options.scenario.split(",")
    for scenario in options.scenarios:
        if scenario not in SCENARIOS:
            parser.error(f"no such scenario: {scenario} (of {', '.join(SCENARIOS)})")
    return options


def main():
    options = parse()
    if not enter_namespace():
        print("not root: sharing the network namespace, expect a wider spread", file=sys.stderr)
    try:
        # With autogroups other sessions get an equal share of the core: weigh ours more.
        with open("/proc/self/autogroup", "w") as file:
            file.write("-10")
    except OSError:
        pass
    raise_descriptor_limit()
    output = open(options.json, "a") if options.json else None

    def emit(row):
        if output:
            output.write(json.dumps(row) + "\n")
            output.flush()

    good = [summarise(options, scenario, run_scenario(options, scenario, emit), emit)
            for scenario in options.scenarios]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
