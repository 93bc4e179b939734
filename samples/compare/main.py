#!/usr/bin/env python3
"""Compares the echo and chat servers by hand, with rondo and with Asio, all under the same load.

By hand: one client at a time, threads, select, poll, epoll, io_uring; rondo on both of its engines;
Asio, where it is installed, on epoll and on io_uring. `./samples/run compare` builds what it needs
and runs it.

Writes rounds.csv, machine.json, pictures and report.html, which needs nothing beside it. Exit code
0: done, also where a variant cannot do a point (not with --strict); 1: a server or the load failed;
2: wrong arguments; 130: ended by Ctrl-C, with what there was until then.
"""
import argparse
import json
import os
import signal
import sys
import time

import counting
import machine
import points
import publish
import report
import rounds_csv
import run
import variants


QUICK_SECONDS = 60  # what --quick says of itself, building aside


def parse():
    parser = argparse.ArgumentParser(prog="compare", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true",
                        help="few points and short rounds: under a minute, to see how it works")
    parser.add_argument("--output", metavar="DIR", help="where the results go (build/compare)",
                        default=os.path.join(variants.ROOT, "build", "compare"))
    parser.add_argument("--only", metavar="NAMES", default="",
                        help=f"these alone, with commas, of {', '.join(variants.names())}; "
                             "rondo means both of its engines")
    parser.add_argument("--points", type=int, metavar="N", help="the first N points alone")
    parser.add_argument("--profile", metavar="NAME", help="the points of one profile alone: "
                        "ping-pong, stream, idle, short, room")
    parser.add_argument("--rounds", type=int, help="of each variant at each point")
    parser.add_argument("--seed", type=int, metavar="N", help="of the order that the variants have "
                        "their turns in, in each round another one (another with each run)",
                        default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--strict", action="store_true", help="end with 1 also where a server is "
                        "missing or cannot do a point that its kind can, or --quick takes more than a minute")
    parser.add_argument("--built", metavar="DIR", default=variants.BUILT,
                        help="the folder of the built samples (build/release/samples)")
    parser.add_argument("--load", metavar="PROGRAM", help="another load generator")
    parser.add_argument("--report", metavar="DIR", help="measures nothing: makes the report and the "
                        "pictures of an earlier run again, from its rounds.csv")
    parser.add_argument("--publish", metavar="DIR",
                        help="measures nothing: puts the results of an earlier run into docs/, "
                        "and prints where rondo is not the first")
    # For samples/run, which builds everything once they are right.
    parser.add_argument("--only-check", action="store_true", help=argparse.SUPPRESS)
    return check(parser, parser.parse_args())


def check_output(parser, given):
    """What could not be written is told before anything is measured."""
    try:
        os.makedirs(given.output, exist_ok=True)
    except OSError as failure:
        parser.error(f"--output: {failure}")
    written = [os.path.join(given.output, name)
               for name in ("machine.json", "rounds.csv", "report.html")]
    for path in (given.output, *written):
        wrong = path != given.output and os.path.isdir(path)
        if wrong or os.path.exists(path) and not os.access(path, os.W_OK):
            parser.error(f"--output: {path} may not be written to")


def check(parser, given):
    given.only = [name for name in given.only.split(",") if name]
    for name in given.only:
        if not any(variants.matches(variant, [name]) for variant in variants.ECHO):
            parser.error(f"no such variant: {name} (of {', '.join(variants.names())})")
    plan = points.QUICK if given.quick else points.FULL
    chosen = [point for point in plan.points if given.profile in (None, point.profile)]
    if not chosen:
        parser.error(f"no such profile: {given.profile}")
    if not any(variant.program for point in chosen
               for variant in variants.of_profile(point.profile, given.only)):
        parser.error(f"{given.profile}: no chat server of this kind: {', '.join(given.only)}")
    for name in ("rounds", "points"):
        if getattr(given, name) is not None and getattr(given, name) < 1:
            parser.error(f"--{name} is at least 1")
    given.plan = plan._replace(points=tuple(chosen[:given.points]),
                               rounds=given.rounds or plan.rounds,
                               open_rounds=given.rounds or plan.open_rounds,
                               counted_rounds=given.rounds or plan.counted_rounds)
    for name in ("report", "publish"):
        folder = getattr(given, name)
        if folder and not os.access(os.path.join(folder, "rounds.csv"), os.R_OK):
            parser.error(f"--{name}: no run is there: {os.path.join(folder, 'rounds.csv')}")
    if given.publish or given.report:
        return given
    asked = given.load
    given.load = asked or os.path.join(given.built, "load")
    is_program = os.path.isfile(given.load) and os.access(given.load, os.X_OK)
    if asked and not is_program:
        parser.error(f"--load: {asked} is no program")
    if not is_program and not given.only_check:
        parser.error(f"{given.load} is not built: ./samples/run compare builds it")
    check_output(parser, given)
    return given


def surroundings(given):
    """How this run measures, to be printed and recorded."""
    server_core, load_core = machine.choose_cores()
    facts = machine.describe(given.built)
    others = machine.used_by_others()
    facts["others before"] = f"{others:.0%} of the processors' time" + (
        ": busy with other things, expect a wide spread" * (others > 0.1))
    facts["server on core"] = str(server_core)
    facts["load on core"] = machine.load_core_text(server_core, load_core)
    facts["system calls counted by"] = {
        "perf": "perf_event_open, raw_syscalls:sys_enter",
        "strace": "strace, which slows the server: one that takes several messages a call "
                  "takes more of them",
        None: "nothing: neither tracefs nor strace can be used here"}[counting.how()]
    plan = given.plan
    facts["rounds"] = (f"{plan.rounds} of {plan.seconds:g} s, for latencies {plan.open_rounds} of "
                       f"{plan.open_seconds:g} s, for system calls {plan.counted_rounds} of "
                       f"{sum(plan.counted):g} s, interleaved, "
                       f"in an order by --seed {given.seed}")
    return facts


def record(given, facts):
    with open(os.path.join(given.output, "machine.json"), "w") as file:
        json.dump(facts, file, indent=2)
        file.write("\n")


def compare(given):
    """Its exit code."""
    if given.only_check:
        return 0
    if given.publish:
        publish.publish(given.publish, os.path.join(variants.ROOT, "docs"))
        return 0
    if given.report:
        report.write(given.report, *publish.read(given.report))
        print(f"see {os.path.join(given.report, 'report.html')}")
        return 0
    descriptors = machine.raise_descriptor_limit()
    facts = surroundings(given)
    record(given, facts)
    for name, text in facts.items():
        print(f"{name:24} {text}")
    comparison = run.Comparison(given, descriptors)
    began, ended = time.monotonic(), False
    processors = machine.ProcessorTime()
    with rounds_csv.Writer(os.path.join(given.output, "rounds.csv")) as writer:
        try:
            comparison.run(writer)
        except KeyboardInterrupt:
            ended = True
            print("\ncompare: ended; writing what there is", file=sys.stderr)
    facts["load on engine"] = " and ".join(sorted(comparison.load_engines)) or "unknown"
    took = time.monotonic() - began
    facts["took"] = f"{took:.0f} s" + (", ended before it was done" * ended)
    facts["stolen meanwhile"] = f"{processors.shares()[1]:.1%} of the processors' time, by the host"
    record(given, facts)
    report.write(given.output, facts, comparison.results)
    print(f"\nmeasured for {facts['took']}; see {os.path.join(given.output, 'report.html')}")
    if ended:
        return 130
    slow = given.strict and given.quick and took > QUICK_SECONDS
    if slow:
        print(f"compare: --quick took more than {QUICK_SECONDS} s", file=sys.stderr)
    return 1 if comparison.failed() or slow or given.strict and comparison.incomplete() else 0


def main():
    # As Ctrl-C: servers end, what there is is written.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return compare(parse())
    except KeyboardInterrupt:
        print("\ncompare: ended", file=sys.stderr)
        return 130
    except OSError as failure:
        print(f"compare: {failure}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
