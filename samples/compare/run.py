"""The run: point by point, round by round, one variant after the other."""
import random
import re
import sys

import counting
import figures
import machine
import measure
import table
import variants
from cell import Cell
from measure import LoadFailed
from server import Server, ServerFailed

FORBIDDEN = re.compile("Operation not permitted|Function not implemented|Permission denied")


# Of a rate with one variant, as the load's own capacity depends on the rate. Where the last of them
# lowers it once more, the load's share in the open rounds tells whether it was enough.
TRIES = 5


class Comparison:
    def __init__(self, given, descriptors):
        self.given = given
        self.plan = given.plan
        self.descriptors = descriptors
        self.server_core, self.load_core = machine.choose_cores()
        self.counting = counting.how()
        self.results = {}  # point to its cells
        self.load_engines = set()  # what the load said it ran on: one, if all is well
        self.stillborn = {}  # (program, engine) to why it does not start

    def failed(self):
        return any(cell.failed or cell.count_problem for cells in self.results.values()
                   for cell in cells)

    def incomplete(self):
        """Whether a server could not do a point that its kind can, or has no figure for it."""
        return any(cell.variant.program and not measure.is_beyond(cell.point, cell.variant) and
                   (cell.problem or not cell.is_complete(self.counting))
                   for cells in self.results.values() for cell in cells)

    def run(self, writer):
        for point in self.plan.points:
            cells = self.results[point] = [
                Cell(point, variant)
                for variant in variants.of_profile(point.profile, self.given.only)]
            try:
                self.run_point(point, cells, writer)
            finally:
                self.say_progress("")
                for cell in cells:
                    if cell.problem:
                        writer.problem(cell)
            print()
            for line in table.lines(cells):
                print(line, flush=True)

    def run_point(self, point, cells, writer):
        for cell in cells:
            why = measure.why_not(point, cell.variant, self.given.built, self.descriptors)
            if why:
                cell.cannot(why)
        self.rounds(point, cells, "closed", None, writer)
        if point.open_loop:
            rate = self.chosen_rate(point, cells)
            if rate:
                self.rounds(point, cells, "open", rate, writer)
        if point.calls and self.counting:
            for number, cell in self.turns(point, cells, "counted", self.plan.counted_rounds):
                self.count_calls(cell, number, writer)

    def chosen_rate(self, point, cells):
        """Half of the slowest's, or less: so much that the load, tried at it against the slowest
        and the fastest, has time left to be punctual. None where nobody has a figure."""
        counted = sorted((cell for cell in cells if cell.closed and cell.serves_many()),
                         key=lambda cell: cell.figure(figures.RATE).median)
        rate = figures.offered_rate([cell.figure(figures.RATE).median for cell in counted])
        for cell in {id(cell): cell for cell in (*counted[:1], *counted[-1:])}.values():
            for _ in range(TRIES):
                self.say_progress(f"{point.name}: choosing a rate: {cell.variant.title}")
                tried = self.one_round(cell, rate, self.plan.seconds, self.plan.warm_up)
                lower = figures.quieter_rate(rate, tried and tried["load_cpu"])
                if lower == rate:
                    break
                rate = lower
        return rate

    def rounds(self, point, cells, loop, rate, writer):
        count = self.plan.open_rounds if rate else self.plan.rounds
        seconds, warm_up = self.plan.seconds, self.plan.warm_up
        if rate:
            seconds = figures.seconds_for(figures.P99_9, rate, self.plan.open_seconds)
            warm_up = self.plan.open_warm_up
        for number, cell in self.turns(point, cells, loop, count):
            row = self.one_round(cell, rate, seconds, warm_up)
            if row:
                (cell.opened if rate else cell.closed).append(row)
                writer.round(cell, loop, number, row)

    def turns(self, point, cells, loop, count):
        """(round, cell) in the order in which they have their turn: in each round all of them."""
        for number in range(1, count + 1):
            # Shuffled, so that nobody always follows the same; a seed gives the same order again.
            order = list(cells)
            random.Random(f"{self.given.seed} {point.name} {loop} {number}").shuffle(order)
            for cell in order:
                if cell.problem:
                    continue
                self.say_progress(f"{point.name}: {loop}, round {number} of {count}: "
                                  f"{cell.variant.title}")
                yield number, cell

    def one_round(self, cell, rate, seconds, warm_up):
        """The row, or None with the problem in the cell."""
        key = (cell.variant.program, cell.variant.engine)
        if key in self.stillborn:
            self.does_not_start(cell, self.stillborn[key])
            return None
        server = Server(cell.variant, self.given.built, self.server_core)
        try:
            with server:
                row = self.measured(cell, server, rate, seconds, warm_up)
                gone = server.what_happened()
                if gone:
                    raise ServerFailed(gone)
                return row
        except ServerFailed as failure:
            if server.port is None:
                self.stillborn[key] = str(failure)
                self.does_not_start(cell, str(failure))
            else:
                cell.fails(str(failure))
        return None

    @staticmethod
    def does_not_start(cell, why):
        """Where io_uring is forbidden or missing, that is a limit of the place."""
        if cell.variant.ring and FORBIDDEN.search(why):
            cell.cannot("does not start here: " + why)
        else:
            cell.fails("does not start: " + why)

    def measured(self, cell, server, rate, seconds, warm_up):
        try:
            report = measure.run_load(self.given.load, server.port, cell.point, self.load_core,
                                      seconds, warm_up, rate or 0,
                                      server.process.pid)
        except LoadFailed as failure:
            refusal = server.refusal()
            gone = server.what_happened()
            if refusal and not gone:
                cell.cannot(refusal)
            else:
                cell.fails(gone or str(failure))
            return None
        self.load_engines.add(report.get("engine", "unknown"))
        row = measure.row_of(report)
        row["offered_rate"] = rate
        return row

    def count_calls(self, cell, number, writer):
        def messages(server, seconds):
            report = measure.run_load(self.given.load, server.port, cell.point, self.load_core,
                                      seconds, 0)
            return report["messages"]
        try:
            row = counting.count(self.counting, cell.variant, self.given.built,
                                 self.server_core, messages, self.plan.counted)
        except (LoadFailed, ServerFailed, OSError) as failure:
            # The other figures stand: they are from other processes.
            cell.count_problem = str(failure)
            writer.count_problem(cell, number)
            return
        cell.counted.append(row)
        writer.round(cell, "counted", number, row)

    def say_progress(self, text):
        """On a terminal, in place; elsewhere the table, as it grows, is progress enough."""
        if sys.stderr.isatty():
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
