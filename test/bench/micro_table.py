#!/usr/bin/env python3
"""The micro-benchmarks as ratios to their references.

Every round is a process of its own for each row, so that addresses differ from round to round, and
runs the benchmarks of the row in a random order on one core. The ratio is that of a round; the
interval is that of the mean of the logarithms (Student's t, 95 %).
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

from compare import ratio
from echo_server import enter_namespace, pin, raise_descriptor_limit
from figures import CORES, ROOT

DEFAULT_MICRO = os.path.join(ROOT, "build", "bench", "test", "bench", "micro")

# Row: benchmark, its reference, how many of the unit one iteration is, the unit, the limit.
ROWS = {
    "await": ("await/rondo", "await/reference", 1, "task", 1.6),
    "yield": ("yield/rondo", "yield/reference", 64, "yield", 1.4),
    "channel": ("channel/64", "yield/rondo", 64, "value", 3),
    "channel of one": ("channel/1", "yield/rondo", 64, "value", 3),
    "channel of none": ("channel/0", "channel/yield", 64, "value", 3),
    "spawn": ("spawn/rondo", "spawn/reference", 64, "child", 4),
    "read_line": ("read_line/rondo/1024", "read_line/reference/1024", 1, "line", 2),
    "read_line, 32 B": ("read_line/rondo/32", "read_line/reference/32", 1, "line", None),
    "read_line, no lease": ("read_line/without_leases/1024", "read_line/reference/1024", 1, "line",
                            None),
    "nop": ("nop/rondo", "nop/reference", 64, "NOP", 1.08),
    "timers": ("timers/1000000", "timers/1000", 1, "timer", 6),
    "loop_timers": ("loop_timers/1000000", "loop_timers/1000", 1, "timer", 6),
    "cancel": ("cancel/rondo", "cancel/reference", 9000, "connection", 2),
    "cancel, one throw": ("cancel/rondo", "cancel/one_throw", 9000, "connection", None),
    "cancel and close": ("cancel_and_close/rondo", "cancel/reference", 9000, "connection", None),
}


def base_name(run_name):
    """Without what Google Benchmark adds for how a benchmark is run."""
    return "/".join(part for part in run_name.split("/")
                    if not part.startswith("iterations:") and part != "manual_time")


def run_round(options, row):
    """Nanoseconds of each benchmark of the row."""
    names = ROWS[row][:2]
    pattern = "|".join(f"^{name}(/iterations:[0-9]+)?(/manual_time)?$" for name in names)
    command = [options.micro, f"--benchmark_filter={pattern}", "--benchmark_format=json",
               f"--benchmark_min_time={options.seconds}",
               "--benchmark_enable_random_interleaving=true"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          preexec_fn=pin(CORES[-1], True))
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip() or f"micro ended with {done.returncode}")
    times = {}
    for result in json.loads(done.stdout)["benchmarks"]:
        if result.get("error_occurred"):
            raise RuntimeError(f"{result['name']}: {result['error_message']}")
        # Manual time is the benchmark's own reading of the thread's CPU clock.
        manual = result["run_name"].endswith("/manual_time")
        times[base_name(result["run_name"])] = result["real_time" if manual else "cpu_time"]
    return [times[name] for name in names]


def print_row(row, rounds):
    _, _, units, unit, limit = ROWS[row]
    ours = [first / units for first, _ in rounds]
    theirs = [second / units for _, second in rounds]
    paired = ratio(ours, theirs)
    interval = ""
    if paired["low"] is not None:
        interval = f"[{paired['low']:.3f}, {paired['high']:.3f}]"
    good = limit is None or paired["median"] <= limit
    verdict = "" if limit is None else f"{limit:g}" + ("" if good else " MISSED")
    print(f"{row:18} {statistics.median(ours):9.1f} {statistics.median(theirs):9.1f}  {unit:10} "
          f"{paired['median']:7.3f}  {interval:16}  {verdict}", flush=True)
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", metavar="ROW",
                        help=f"of {', '.join(ROWS)} (all)")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.1, help="measured, a benchmark")
    parser.add_argument("--micro", default=DEFAULT_MICRO, help="the program (%(default)s)")
    options = parser.parse_args()
    for row in options.rows:
        if row not in ROWS:
            parser.error(f"no such row: {row}")
    enter_namespace()
    raise_descriptor_limit()
    print(f"{'row':18} {'ns':>9} {'reference':>9}  {'for one':10} {'ratio':>7}  "
          f"{'95 % of the mean':16}  at most")
    good = True
    for row in options.rows or ROWS:
        try:
            good &= print_row(row, [run_round(options, row) for _ in range(options.rounds)])
        except (RuntimeError, OSError) as error:
            print(f"{row}: {error}")
            good = False
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
