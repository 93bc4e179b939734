"""The table of a point, in text: for a terminal while the run goes on, and for the report."""
import figures

HEADINGS = ("", "messages/s", "load", "p50 us", "p99 us", "p99.9 us", "CPU us/msg", "calls/msg",
            "switches/msg", "B/idle conn.")
KINDS = (figures.RATE, figures.P50, figures.P99, figures.P99_9, figures.CPU, figures.CALLS,
         figures.SWITCHES, figures.MEMORY)
LIMIT_MARK = " (!)"
LATE_MARK = " (late)"
SENT_LATE = 0.01  # of the messages, above which a p99 is that of the sending
SWITCHES_NOTE = ("no switches: where threads end with their connections, only a counter of the "
                 "kernel has theirs")
LATE_NOTE = "(late) not all of the offered rate was reached, so these tell how long it went on"
LIMIT_NOTE = ("(!) at a rate: the load generator was the limit, not the server, which could do more")
LATENCY_LIMIT_NOTE = (f"(!) at a latency: the load generator used more than {figures.QUIET_LOAD:.0%} "
                      "of its core, so its own queue is in it").replace("%", " %")


def figure_text(cell, kind):
    """A figure with its spread, marked where it tells of the load instead of the server."""
    text = figures.with_spread(cell.figure(kind))
    if text and cell.limited(kind):
        text += LIMIT_MARK
    if text and kind in figures.LATENCIES and cell.late():
        text += LATE_MARK
    return text


def load_text(cell):
    """What the load used of its core while that rate was measured."""
    share = cell.figure(figures.LOAD)
    return f"{100 * share.median:.0f} %" if share else ""


def notes(cells):
    """What the marks in the rows of these cells mean."""
    shown = [heading for cell in cells for heading in cell.limited_figures()]
    if figures.RATE.heading in shown:
        yield LIMIT_NOTE
    if any(heading != figures.RATE.heading for heading in shown):
        yield LATENCY_LIMIT_NOTE
    if any(cell.late() for cell in cells):
        yield LATE_NOTE
    sent_late = max((cell.sent_late() for cell in cells if not cell.problem), default=0)
    if sent_late > SENT_LATE:
        yield (f"up to {100 * sent_late:.0f} % of the messages went out more than 1 ms late: what "
               "else the machine did is in the latencies, or echoes that came after the next was due")
    for cell in cells:
        if cell.count_problem:
            yield (f"FAILED: system calls of {cell.variant.title} at {cell.point.name}: "
                   f"{cell.count_problem}")
    if any(cell.counts_ended_threads() and not cell.problem and not cell.figure(figures.SWITCHES)
           for cell in cells):
        yield SWITCHES_NOTE


def row(cell, brief=False):
    """The texts of a variant's row; a problem takes the place of all figures. In brief the switches
    are without their range, so that a terminal has room for all columns."""
    if cell.problem:
        return [cell.variant.title, ("FAILED: " if cell.failed else "") + cell.problem]
    rate, *others = (figure_text(cell, kind) for kind in KINDS)
    switches = cell.figure(figures.SWITCHES)
    if brief and switches:
        others[KINDS.index(figures.SWITCHES) - 1] = figures.with_spread(switches._replace(rounds=1))
    return [cell.variant.title, rate, load_text(cell), *others]


def heading(cells):
    """Of a point: its name, and the rate at which the latencies were measured."""
    point = cells[0].point
    text = f"{point.profile}, {point.connections} connections, {point.size} B"
    if point.profile == "room":
        text = f"room, {point.connections} members, lines of {point.size} B"
    offered = next((cell.offered() for cell in cells if cell.offered()), None)
    if offered:
        text += f"; latency at {offered:.0f} messages/s"
        rates = [cell.figure(figures.RATE) for cell in cells if cell.serves_many()]
        shares = sorted(round(100 * offered / rate.median) for rate in rates
                        if rate and rate.median)
        if shares:
            span = " to ".join(str(share) for share in sorted({shares[0], shares[-1]}))
            text += f", {span} % of what they can do"
    return text


def used_columns(rows):
    """Which columns have a figure in some row."""
    return [index for index in range(1, len(HEADINGS))
            if any(len(cells) > 2 and cells[index] for cells in rows)]


def lines(cells):
    """The table of one point, for a terminal."""
    rows = [row(cell, brief=True) for cell in cells]
    columns = used_columns(rows)
    shown = [[HEADINGS[index] for index in (0, *columns)]]
    shown += [[cells_[index] for index in (0, *columns)] if len(cells_) > 2 else cells_
              for cells_ in rows]
    full = [texts for texts in shown if len(texts) == len(columns) + 1]
    widths = [max(len(texts[index]) for texts in full) for index in range(len(columns) + 1)]
    widths[0] = max(len(texts[0]) for texts in shown)
    yield heading(cells)
    for texts in shown[0 if columns else 1:]:
        padded = [texts[0].ljust(widths[0])]
        if len(texts) == len(widths):
            padded += [text.rjust(width) for text, width in zip(texts[1:], widths[1:])]
        else:
            padded += texts[1:]
        yield "  " + "  ".join(padded).rstrip()
    yield from ("  " + note for note in notes(cells))


def markdown(cells):
    """The same for a page of documentation; its heading is the caller's."""
    rows = [row(cell) for cell in cells]
    columns = used_columns(rows)
    yield "| " + " | ".join(HEADINGS[index] for index in (0, *columns)) + " |"
    yield "|---" + "|---:" * len(columns) + "|"
    for texts in rows:
        if len(texts) == 2:
            shown = [texts[0], texts[1].replace("|", "/"), *[""] * (len(columns) - 1)]
        else:
            shown = [texts[index] for index in (0, *columns)]
        yield "| " + " | ".join(shown) + " |"
