"""What is measured: the points, each a profile with its connections and sizes, and for how long."""
from typing import NamedTuple


class Point(NamedTuple):
    profile: str
    connections: int
    size: int
    open_loop: bool = False  # latency at a fixed rate, too
    calls: bool = False      # system calls, too

    @property
    def name(self):
        return f"{self.profile} {self.connections} x {size_text(self.size)}"


class Plan(NamedTuple):
    points: tuple
    rounds: int
    seconds: float    # measured, a round
    warm_up: float
    open_rounds: int  # latency is a matter of rare events, so fewer and longer ones
    open_warm_up: float
    open_seconds: float  # longer where p99.9 has nearly messages enough
    counted_rounds: int
    counted: tuple    # seconds of the two runs of each that system calls are counted in


def size_text(size):
    return f"{size // 1024} KiB" if size % 1024 == 0 else f"{size} B"


# Connections at 64 B, then sizes at 128 connections: the axes, not their whole product. Latency at
# some of them: an open round is as long as five of the others.
FULL = Plan(
    points=(
        Point("ping-pong", 1, 64, True, True),
        Point("ping-pong", 16, 64, False, True),
        Point("ping-pong", 128, 64, True, True),
        Point("ping-pong", 1000, 64, True, True),
        Point("ping-pong", 8000, 64),
        Point("ping-pong", 128, 16),
        Point("ping-pong", 128, 1024),
        Point("ping-pong", 128, 8192, True),
        Point("ping-pong", 128, 65536),
        Point("stream", 1, 16384, False, True),
        Point("stream", 128, 4096, False, True),
        Point("idle", 1000, 64),
        Point("idle", 8000, 64),
        Point("short", 16, 64, False, True),
        Point("room", 100, 64, False, True),
        Point("room", 1000, 64),
    ),
    rounds=5, seconds=0.5, warm_up=0.1, open_rounds=3, open_warm_up=0.25, open_seconds=2,
    counted_rounds=3, counted=(0.08, 0.25))

QUICK = Plan(
    points=(
        Point("ping-pong", 1, 64),
        Point("ping-pong", 128, 64, True, True),
        Point("stream", 16, 16384),
        Point("idle", 500, 64),
        Point("short", 16, 64),
        Point("room", 100, 64),
    ),
    rounds=2, seconds=0.1, warm_up=0.04, open_rounds=1, open_warm_up=0.04,
    open_seconds=0.3, counted_rounds=1, counted=(0.04, 0.12))
