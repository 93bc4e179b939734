"""What is known of one variant at one point: the rounds, or why there are none."""
import statistics

import figures

KEPT = 0.95  # of the offered rate


class Cell:
    def __init__(self, point, variant):
        self.point = point
        self.variant = variant
        self.problem = None   # a sentence, instead of figures
        self.failed = False   # the problem is a fault, not a limit of the variant
        self.closed = []      # rows of rounds, as measure.py makes them
        self.opened = []
        self.counted = []
        self.count_problem = None  # why a count of system calls is missing; the rest stands

    def cannot(self, why):
        self.problem = why

    def fails(self, why):
        self.problem, self.failed = why, True

    def rows(self, kind):
        if kind in figures.LATENCIES:
            return self.opened
        if kind is figures.SWITCHES and self.counts_ended_threads():
            return self.counted
        return self.counted if kind is figures.CALLS else self.closed

    def counts_ended_threads(self):
        """/proc knows the switches of the threads that live: where they end with their
        connections, those of the counted run are the ones to show, or none."""
        return self.point.profile == "short"

    def figure(self, kind):
        return figures.summarise(row.get(kind.column) for row in self.rows(kind)
                                 if figures.is_known(kind, row))

    def limited(self, kind=figures.RATE):
        """Whether the figure tells of the load generator, by the medians of its rounds: for a rate,
        if it has been the limit; for a latency, if it had too little time left to be punctual."""
        if kind is figures.RATE:
            return figures.load_was_limit(*(share and share.median for share in (
                self.figure(figures.LOAD), self.figure(figures.SERVER_SHARE))))
        if kind not in figures.LATENCIES:
            return False
        known = [row["load_cpu"] for row in self.rows(kind) if row.get("load_cpu") is not None]
        return bool(known) and statistics.median(known) > figures.QUIET_LOAD

    def limited_figures(self):
        """The headings of those that are shown and tell of the load."""
        return [kind.heading for kind in (figures.RATE, *figures.LATENCIES)
                if self.figure(kind) and self.limited(kind)]

    def late(self):
        """Whether in any round the offered rate was not reached: latency then grows with time."""
        return any(row["rate"] is not None and row["rate"] < KEPT * row["offered_rate"]
                   for row in self.opened if row.get("offered_rate"))

    def sent_late(self):
        """The share of messages that went out more than 1 ms late in the usual open round."""
        known = [row["behind"] / row["due"] for row in self.opened
                 if row.get("behind") is not None and row.get("due")]
        return statistics.median(known) if known else 0

    def is_complete(self, counting):
        """Whether all that its point asks for has been there; calls only if they can be counted."""
        return bool(self.closed) and (bool(self.opened) or not self.point.open_loop) and \
            (bool(self.counted) or not self.point.calls or not counting)

    def serves_many(self):
        return not self.problem and self.variant.most_connections != 1

    def offered(self):
        return self.opened[0]["offered_rate"] if self.opened else None
