"""What is known of one variant at one point: the rounds, or why there are none."""
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

    def cannot(self, why):
        self.problem = why

    def fails(self, why):
        self.problem, self.failed = why, True

    def rows(self, kind):
        if kind in (figures.P50, figures.P99, figures.P99_9):
            return self.opened
        return self.counted if kind is figures.CALLS else self.closed

    def figure(self, kind):
        return figures.summarise(row.get(kind.column) for row in self.rows(kind))

    def limited(self, kind=figures.RATE):
        """Whether in any of these rounds the load generator has been the limit."""
        return any(row.get("load_limited") for row in self.rows(kind))

    def late(self):
        """Whether in any round the offered rate was not reached: latency then grows with time."""
        return any(row["rate"] is not None and row["rate"] < KEPT * row["offered_rate"]
                   for row in self.opened if row.get("offered_rate"))

    def offered(self):
        return self.opened[0]["offered_rate"] if self.opened else None
