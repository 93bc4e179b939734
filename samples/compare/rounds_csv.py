"""All rounds as CSV: written while the run goes on, and read again for the front page's picture."""
import csv

from cell import Cell
from points import Point
import variants

KEY = ("profile", "connections", "size", "variant", "loop", "round", "status", "offered_rate")
MEASURED = ("rate", "bytes_per_second", "p50_us", "p99_us", "p99_9_us", "max_us", "due",
            "unanswered", "behind", "messages", "seconds", "server_cpu", "cpu_us_per_message", "calls_per_message",
            "switches_per_message", "rss_bytes", "idle_bytes_per_connection", "load_cpu")


class Writer:
    """One row for each round, at once, so that nothing is lost when the run is ended."""

    def __init__(self, path):
        self.file = open(path, "w", newline="")
        self.writer = csv.DictWriter(self.file, KEY + MEASURED)
        self.writer.writeheader()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def round(self, cell, loop, number, row):
        self.write(cell, loop, number, "ok", row)

    def problem(self, cell):
        self.write(cell, "", "", ("failed: " if cell.failed else "cannot: ") + cell.problem, {})

    def count_problem(self, cell, number):
        self.write(cell, "counted", number, "failed: " + cell.count_problem, {})

    def write(self, cell, loop, number, status, row):
        point = cell.point
        key = dict(zip(KEY, (point.profile, point.connections, point.size, cell.variant.name,
                             loop, number, status, row.get("offered_rate"))))
        measured = {name: row.get(name) for name in MEASURED}
        self.writer.writerow({**key, **measured})
        self.file.flush()


class Foreign(Exception):
    """The file is not one that a run has written."""


def value_of(text):
    return float(text) if text else None


def read(path):
    """Point to its cells, in the order of the file. Throws Foreign."""
    try:
        points = read_points(path)
    except (KeyError, ValueError, TypeError, AttributeError, csv.Error) as failure:
        raise Foreign(f"{path}: {type(failure).__name__}: {failure}") from None
    if not points:
        raise Foreign(f"{path} has no round")
    return points


def read_points(path):
    cells = {}
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            point = Point(row["profile"], int(row["connections"]), int(row["size"]))
            known = {each.name: each for each in variants.of_profile(point.profile)}
            variant = known[row["variant"]]
            cell = cells.setdefault((point, variant.name), Cell(point, variant))
            if row["status"] != "ok":
                kind, _, why = row["status"].partition(": ")
                if row["loop"] == "counted":
                    cell.count_problem = why
                    continue
                (cell.fails if kind == "failed" else cell.cannot)(why)
                continue
            rows = {"closed": cell.closed, "open": cell.opened, "counted": cell.counted}
            measured = {name: value_of(row.get(name)) for name in MEASURED}
            rows[row["loop"]].append({**measured, "offered_rate": value_of(row["offered_rate"])})
    points = {}
    for (point, _), cell in cells.items():
        points.setdefault(point, []).append(cell)
    # What could not be done stands last in the file.
    for point, found in points.items():
        order = [variant.name for variant in variants.of_profile(point.profile)]
        found.sort(key=lambda cell: order.index(cell.variant.name))
    return points
