"""Pictures by gnuplot, as SVG: what the table says, point by point or along an axis."""
import math
import re
import shutil
import subprocess
import sys

import figures

# Of middle lightness, so that they can be told on white and on black.
COLOURS = {"one-at-a-time": "#8c8c8c", "threads": "#b07a3f", "select": "#c9648f",
           "poll": "#9b6fd0", "epoll": "#4f8fd6", "uring": "#2f9e9e", "rondo-uring": "#e0572b",
           "rondo-epoll": "#e39a2d", "asio-epoll": "#6aa84f", "asio-uring": "#3f7d3a"}
BLACK = re.compile(r"black|rgb\( *0, *0, *0\)|#000000")
STYLE = ("<style>svg{color:#1f2328}@media(prefers-color-scheme:dark){svg{color:#e6edf3}}"
         "</style>")
LIMIT_NOTES = {figures.RATE: "the load was the limit"}
LIMIT_NOTES.update((kind, "the load's own queue is in it") for kind in figures.LATENCIES)
LATE_NOTE = "not all of the offered rate was reached"


class Picture:
    def __init__(self, name, title, svg):
        self.name, self.title, self.svg = name, title, svg


def available():
    return shutil.which("gnuplot") is not None


def quoted(text):
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'


def draw(script):
    """The SVG of a gnuplot script. What is black takes the colour of the text around it."""
    done = subprocess.run(["gnuplot"], input=script, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=60)
    if done.returncode != 0 or "</svg>" not in done.stdout:
        raise RuntimeError("gnuplot: " + (done.stderr.strip() or "no picture"))
    svg = done.stdout[done.stdout.index("<svg"):]
    svg = BLACK.sub("currentColor", svg).replace("<title>Gnuplot</title>", "")
    # Alone, as an <img>, it has no text around it.
    end = svg.index(">") + 1
    return svg[:end] + STYLE + svg[end:]


def head(title, width, height):
    return (f"set terminal svg size {width},{height} dynamic font 'sans-serif,12' "
            "enhanced\n"
            f"set title {quoted(title)} noenhanced\nset border 3\nset tics nomirror\n")


def late(cell, kind):
    """Whether its latency tells how long the round went on, and nothing of the server."""
    return kind in figures.LATENCIES and cell.late()


def below(label, *notes):
    """What stands below an axis: its label, and a line for each note that there is."""
    return quoted("\n".join((label, *(note for note in notes if note)))) + " noenhanced\n"


def bar_row(place, cell, kind):
    figure = cell.figure(kind)
    colour = int(COLOURS[cell.variant.name][1:], 16)
    return f"{place} {figure.median} {figure.low} {figure.high} {colour} " \
           f"{quoted(figures.number(figure.median))}"


def bars(title, cells, kind, logarithmic=False, width=640, small=False):
    """A bar for each variant, lying, the first on top, with the range of its rounds."""
    shown = [cell for cell in cells if not cell.problem and cell.figure(kind)]
    if not shown:
        return None
    count, tallest = len(shown), max(cell.figure(kind).high for cell in shown)
    lowest = min(cell.figure(kind).low for cell in shown)
    logarithmic = logarithmic and lowest > 0
    least = lowest / 2 if logarithmic else 0
    limited = [cell for cell in shown if cell.limited(kind)]
    hatched = [cell for cell in shown if late(cell, kind)]
    notes = [f"hollow: {LIMIT_NOTES[kind]}"] if limited else []
    notes += [f"hatched: {LATE_NOTE}"] if hatched else []
    script = head(title, width, 90 + 18 * len(notes) + (22 if small else 26) * count)
    script += "set lmargin 18\nset rmargin 10\nunset key\n"
    script += f"set yrange [{-count + 0.4}:0.6]\n"
    script += "set xlabel " + below(f"{kind.heading}, {kind.unit}", *notes)
    script += "set format x '%.0s %c'\n" if tallest >= 1000 else ""
    script += "set logscale x\n" if logarithmic else ""
    # Where all are 0, gnuplot needs some range yet.
    script += f"set xrange [{least:g}:{tallest * (4 if logarithmic else 1.15) or 1:g}]\n"
    ticks = ", ".join(f"{quoted(cell.variant.title)} {-place}"
                      for place, cell in enumerate(shown))
    script += f"set ytics ({ticks}) noenhanced\n"
    for place, cell in enumerate(shown):
        value, colour = cell.figure(kind).median, COLOURS[cell.variant.name]
        fill = "empty" if cell in limited else "solid 0.85"
        fill = "pattern 4" if cell in hatched else fill
        script += (f"set object rectangle from {least:g},{-place - 0.33} to "
                   f"{max(value, least):g},{-place + 0.33} fillcolor rgb '{colour}' "
                   f"fillstyle {fill} border rgb '{colour}'\n")
    rows = "\n".join(bar_row(-place, cell, kind) for place, cell in enumerate(shown))
    script += f"$data << END\n{rows}\nEND\n"
    script += ("plot $data using 2:1:3:4 with xerrorbars pointtype 0 linecolor rgb 'black', "
               "$data using 4:1:6 with labels left offset 0.7,0 noenhanced\n")
    return draw(script)


class LineParts:
    """A variant's data blocks, and what plots them."""

    def __init__(self, number, cells, kind, axis):
        name, title = cells[0].variant[:2]
        known = [cell for cell in sorted(cells, key=axis) if is_known(cell, kind)]
        # A blank line: where a point is missing, the line is, too.
        rows = {cell: "" if late(cell, kind) else data_row(cell, kind, axis) for cell in known}
        self.hollow = [cell for cell in known if cell.limited(kind) and not late(cell, kind)]
        self.crossed = [cell for cell in known if late(cell, kind)]
        self.data, self.plots = "", []
        colour = f"linecolor rgb '{COLOURS[name]}'"
        named = f"title {quoted(title)} noenhanced"
        if any(rows.values()):
            self.add(f"$v{number}", rows.values(), "1:2:3:4 with yerrorlines linewidth 1.6 "
                     f"pointtype 7 pointsize 0.5 {colour} {named}")
            named = "notitle"
        if self.hollow:
            self.add(f"$h{number}", (rows[cell] for cell in self.hollow),
                     f"1:2 with points pointtype 6 pointsize 1.3 {colour} notitle")
        if self.crossed:
            self.add(f"$c{number}", (data_row(cell, kind, axis) for cell in self.crossed),
                     f"1:2 with points pointtype 2 pointsize 1.1 linewidth 1.6 {colour} {named}")

    def add(self, block, rows, plot):
        self.data += f"{block} << END\n" + "\n".join(rows) + "\nEND\n"
        self.plots.append(f"{block} using {plot}")


def is_known(cell, kind):
    return not cell.problem and cell.figure(kind) is not None


def data_row(cell, kind, axis):
    figure = cell.figure(kind)
    return f"{axis(cell)} {figure.median} {figure.low} {figure.high}"


def steps_between(low, high):
    """1, 2 and 5 of each power of ten: a scale without a power of ten has marks, too."""
    power = 10.0 ** math.floor(math.log10(low))
    while power <= high:
        yield from (power * step for step in (1, 2, 5) if low <= power * step <= high)
        power *= 10


def lines(title, cells, kind, axis, axis_title, binary=False):
    """A line for each variant along an axis, both logarithmic."""
    cells = [cell for cell in cells if is_known(cell, kind)]
    ticks = sorted({axis(cell) for cell in cells})
    if len(ticks) < 2:
        return None
    # A late one has its place by its median: how far it would reach says nothing.
    known = [(each.median, each.median) if late(cell, kind) else (each.low, each.high)
             for cell in cells for each in (cell.figure(kind),)]
    low, high = min(each[0] for each in known), max(each[1] for each in known)
    if low <= 0:  # what the clock of processor time could not tell from nothing
        return None
    by_variant = {}
    for cell in cells:
        by_variant.setdefault(cell.variant.name, []).append(cell)
    parts = [LineParts(number, group, kind, axis)
             for number, group in enumerate(by_variant.values())]
    notes = [f"in a circle: {LIMIT_NOTES[kind]}" for part in parts if part.hollow][:1]
    notes += [f"a cross, on no line: {LATE_NOTE}" for part in parts if part.crossed][:1]
    script = head(title, 680, 400 + 18 * len(notes))
    # The margin has room for the longest name and its line: gnuplot reckons with narrower letters.
    script += "set rmargin 24\nset key at graph 1.04, graph 1 left top Left reverse samplen 2\n"
    script += f"set logscale y\nset logscale x{' 2' if binary else ''}\n"
    script += f"set yrange [{low / 1.3:g}:{high * 1.3:g}]\n"
    steps = ", ".join(f"'{figures.number(value)}' {value:g}"
                      for value in steps_between(low / 1.3, high * 1.3))
    script += f"set ytics ({steps})\n"
    marks = ", ".join(f"'{value:,}' {value}" for value in ticks)
    script += f"set xtics ({marks})\nset xrange [{ticks[0] / 1.3:g}:{ticks[-1] * 1.3:g}]\n"
    script += "set xlabel " + below(axis_title, *notes)
    script += f"set ylabel {quoted(kind.heading + ', ' + kind.unit)} noenhanced\n"
    script += "".join(part.data for part in parts)
    script += "plot " + ", ".join(plot for part in parts for plot in part.plots) + "\n"
    return draw(script)


def connections(cell):
    return cell.point.connections


def size(cell):
    return cell.point.size


def axes(results):
    """The cells of the ping-pong points along each axis: equal size, equal connections."""
    pings = [cells for point, cells in results.items() if point.profile == "ping-pong"]
    flat = [cell for cells in pings for cell in cells]
    return ([cell for cell in flat if cell.point.size == 64],
            [cell for cell in flat if cell.point.connections == 128])


ALONG = ((figures.RATE, "Echoes a second"), (figures.CPU, "Processor time of the server"),
         (figures.P50, "Half of the echoes come within, at an equal rate"),
         (figures.P99, "99 % of the echoes come within, at an equal rate"),
         (figures.P99_9, "99.9 % of the echoes come within, at an equal rate"))
BARS = {"ping-pong": (figures.CALLS, figures.SWITCHES),
        "stream": (figures.RATE, figures.CPU, figures.CALLS), "idle": (figures.MEMORY,),
        "short": (figures.RATE, figures.CPU, figures.CALLS),
        "room": (figures.RATE, figures.CPU, figures.CALLS)}


def tried(make_one, title, *rest, **options):
    """The SVG, or None with a line about why: the figures are worth more than a picture of them."""
    try:
        return make_one(title, *rest, **options)
    except (RuntimeError, OSError, subprocess.SubprocessError) as failure:
        print(f"compare: no picture {title}: {failure}", file=sys.stderr)
        return None


def drawn(results):
    """(name, title, SVG or None) of all pictures."""
    by_connections, by_size = axes(results)
    for kind, title in ALONG:
        text = f"{title}, 64 B a message"
        yield (f"connections-{kind.column}", text,
               tried(lines, text, by_connections, kind, connections, "connections"))
        text = f"{title}, 128 connections"
        yield (f"sizes-{kind.column}", text,
               tried(lines, text, by_size, kind, size, "bytes a message", binary=True))
    for point, cells in results.items():
        kinds = BARS[point.profile]
        if point.profile == "ping-pong" and not any(cell.figure(figures.CALLS) for cell in cells):
            kinds = ()
        # Of few points a line says little.
        if point.profile == "ping-pong" and len({connections(each) for each in by_connections}) < 3:
            kinds = (figures.RATE, figures.CPU, figures.P99, *kinds)
        for kind in kinds:
            text = f"{point.name}: {kind.heading}"
            ratio_wide = kind in (figures.CALLS, figures.SWITCHES, figures.MEMORY)
            name = re.sub(r"[^a-z0-9]+", "-", text.lower())
            yield name, text, tried(bars, text, cells, kind, logarithmic=ratio_wide)


def make(results):
    return [Picture(name, title, svg) for name, title, svg in drawn(results) if svg]


def front_page(results):
    """The SVG of the small one: the rate of 128 connections in a closed loop."""
    point = next((point for point in results
                  if point[:3] == ("ping-pong", 128, 64)), None)
    if point is None:
        raise SystemExit("compare: the run has no point ping-pong, 128 connections, 64 B")
    # One client at a time is another question.
    cells = [cell for cell in results[point] if cell.variant.most_connections != 1]
    svg = bars("Echoes a second: 128 connections, 64 B, server on one core", cells, figures.RATE,
               width=560, small=True)
    if svg is None:
        raise SystemExit("compare: no variant has a figure there")
    return svg
