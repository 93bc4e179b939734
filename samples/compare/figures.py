"""What rounds come to: medians with their spread, and how figures are written."""
import statistics
from typing import NamedTuple, Optional


class Figure(NamedTuple):
    median: float
    low: float
    high: float
    rounds: int


class Kind(NamedTuple):
    """One kind of figure: its column in the CSV, its heading, its unit."""
    column: str
    heading: str
    unit: str
    smaller_is_better: bool = True


RATE = Kind("rate", "rate", "messages/s", smaller_is_better=False)
P50 = Kind("p50_us", "p50", "us")
P99 = Kind("p99_us", "p99", "us")
P99_9 = Kind("p99_9_us", "p99.9", "us")
LOAD = Kind("load_cpu", "load", "of its core")
SERVER_SHARE = Kind("server_cpu", "server", "of its core")
CPU = Kind("cpu_us_per_message", "CPU", "us a message")
CALLS = Kind("calls_per_message", "system calls", "a message")
SWITCHES = Kind("switches_per_message", "switches", "a message")
MEMORY = Kind("idle_bytes_per_connection", "memory", "bytes an idle connection")


def summarise(values) -> Optional[Figure]:
    """The median, the least and the greatest of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Figure(statistics.median(known), min(known), max(known), len(known))


def number(value):
    """Three digits that mean something: 1.23 M, 45.6 k, 789, 1.23, 0.0123."""
    scale, unit = scaled(value)
    return str(int(scale)) if not unit and scale == int(scale) else digits(scale) + unit


def scaled(value):
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= limit * 0.9995:
            return value / limit, unit
    return value, ""


def digits(value):
    """As many places for 2 as for 2.01, which stands below it."""
    if value == 0:
        return "0"
    if abs(value) < 0.00005:
        return "<0.0001"
    for limit, places in ((99.95, 0), (9.995, 1), (0.9995, 2), (0.09995, 3), (0, 4)):
        if abs(value) >= limit:
            return f"{value:.{places}f}"


def with_spread(figure: Optional[Figure]):
    """`45.6 k [44.1-46.0]`: the range is in the median's unit, and missing where there is one round
    only."""
    if figure is None:
        return ""
    value, unit = scaled(figure.median)
    if figure.rounds == 1:
        return digits(value) + unit
    scale = figure.median / value if value else 1
    return f"{digits(value)}{unit} [{digits(figure.low / scale)}-{digits(figure.high / scale)}]"


LATENCIES = {P50: 0.5, P99: 0.99, P99_9: 0.999}  # to the share of messages that are faster
BEYOND = 10  # as many messages of a round are slower than a percentile that is shown, at least


def is_known(kind, row):
    """Whether a round has enough messages for that figure: by those that were due, since one that
    stalled has fewer that came back, and would be left out with its stall."""
    due = row.get("due")
    return kind not in LATENCIES or due is None or due * (1 - LATENCIES[kind]) >= BEYOND - 1e-6


def seconds_for(kind, rate, seconds):
    """How long to measure, so that a percentile has enough messages with a tenth to spare; no
    longer than half as long again, where it has not."""
    needed = 1.1 * BEYOND / (1 - LATENCIES[kind]) / rate
    return round(needed, 2) if seconds < needed <= 1.5 * seconds else seconds


# Above and below which the load generator, and not the server, has been the limit: a core has less
# than a whole second in a second where the host takes some of it.
BUSY_LOAD, IDLE_SERVER, APART = 0.85, 0.9, 0.1
# Of its core, what the load may use in an open loop: above it, it is its own queue that is measured.
QUIET_LOAD = 0.6
# What a rate is chosen for, so that other rounds of it stay below.
CHOSEN_LOAD = 0.5


def load_was_limit(load_cpu, server_cpu):
    """Whether the load had no time left while the server had. False where one is unknown."""
    if load_cpu is None or server_cpu is None:
        return False
    return load_cpu > BUSY_LOAD and server_cpu < IDLE_SERVER and load_cpu > server_cpu + APART


def offered_rate(rates, share=0.5):
    """The rate for all, from the median rates of those that serve many: a share of the slowest's."""
    return two_digits(share * min(rates)) if rates else None


def quieter_rate(rate, load_cpu):
    """What to offer instead of a rate at which the load used so much of its core; the rate itself
    where that was little enough."""
    if load_cpu is None or load_cpu <= (CHOSEN_LOAD + QUIET_LOAD) / 2:
        return rate
    return two_digits(rate * CHOSEN_LOAD / load_cpu)


def two_digits(rate):
    """Rounded down, so that it reads as what was chosen."""
    step = 1
    while rate / step >= 100:
        step *= 10
    return max(1, int(rate / step) * step)
