"""The report: one HTML file with everything in it, and the pictures as files beside it."""
import html
import os
import re
import sys

import code_lines
import figures
import pictures
import table
import variants

STYLE = """
:root{color-scheme:light dark;--text:#1f2328;--back:#fff;--line:#d0d7de;--soft:#656d76;
--warn:#9a6700;--bad:#cf222e}
@media(prefers-color-scheme:dark){:root{--text:#e6edf3;--back:#0d1117;--line:#30363d;
--soft:#8b949e;--warn:#d29922;--bad:#ff7b72}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--text);background:var(--back);
max-width:76rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;margin:.5rem 0 1.5rem;font-size:.85rem;display:block;overflow-x:auto}
th,td{padding:.2rem .6rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}
td small{color:var(--soft)}td.problem{text-align:left;color:var(--soft);white-space:normal}
td.failed{color:var(--bad)}.limited{color:var(--warn)}
.pictures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,34rem),1fr));gap:1rem}
figure{margin:0;color:var(--text)}figure svg{width:100%;height:auto;color:inherit}
"""

READING = """
<p>Each server ran on one core, the load generator on another where there is one (see the machine,
below), on the loopback interface, one server at a time. A point is measured in rounds; in a round each variant has its turn, so that what
slows the machine for a while slows all of them. Figures are the median of the rounds, and in
brackets the least and the greatest, in the same unit.</p>
<ul>
<li><b>messages/s</b>: closed loop, the next message after the echo of the last. In
<i>stream</i> many are under way at once; in <i>short</i> one is a connection with one echo; in
<i>room</i> one is a delivered line.</li>
<li><b>load</b>: what the load generator used of its core meanwhile. Near 100 % a rate is that of
server and load together: one that leaves more of the work to the load looks slower than it is.</li>
<li><b>p50, p99, p99.9</b>: open loop, at a rate that is the same for all variants: half of what
the slowest does that can serve more than one, or less where the load generator would be busy for
more than half of its time. With many connections it mostly is the latter, and so a small part of
what the servers can do, which the heading tells: how latency grows as a server comes near its limit
is not shown. Time counts from when a message was due, so that a stall delays all that
were due meanwhile. A percentile is shown where ten messages of a round and more lie beyond it; of
p99.9 these are few: where the ranges overlap, it ranks nobody.</li>
<li><b>CPU</b>: processor time of the server's process for each message of the closed loop.</li>
<li><b>calls/msg</b>: system calls of the server, counted in runs of their own.</li>
<li><b>switches/msg</b>: its context switches, voluntary and not. In <i>short</i> counted as the
calls are, since a server may end a thread with each connection; empty where that cannot be.</li>
<li><b>B/idle conn.</b>: what the server's memory grew by, for each connection that has echoed
once and waits. The kernel's part is not in it: sockets, the stacks in it that threads have, armed
requests of a ring, the items of an epoll set.</li>
<li class="limited"><b>(!)</b>, hollow in the pictures: by the medians the load generator used more
than 85 % of its core, the server less than 90 % of its own, and less than the load by 10 % or more.
The server could do more; such rates say nothing about which is faster. At a latency: the load generator used more than 60 % of its core, so its own queue is in it. It is a
program of rondo itself.</li>
<li class="limited"><b>(late)</b>, in the pictures a cross on no line, or hatched: not all of the
offered rate was reached. Such a latency tells how long the round went on.</li>
</ul>
"""

LINES_NOTE = """
<p>Lines that are neither blank nor comment: of the variant's own source, and of the sources it
shares with other samples (arguments, addresses, signals). Libraries do not count: not rondo, not
Asio, not liburing. The programs do not all do the same: rondo's echo_server has options for
threads, limits, time-outs and Unix sockets, and those by hand drain their clients at the end, which
Asio's does not.</p>
"""


def escaped(text):
    return html.escape(str(text))


def cell_html(text):
    """The spread is written small, the mark of the load's limit stands out."""
    text = escaped(text)
    text = re.sub(r"(\[.*?\])", r"<small>\1</small>", text)
    for mark in (table.LIMIT_MARK, table.LATE_MARK):
        text = text.replace(mark, f'<span class="limited">{mark}</span>')
    return text


def point_table(cells):
    rows = [table.row(cell) for cell in cells]
    columns = table.used_columns(rows)
    out = [f"<h3>{escaped(table.heading(cells))}</h3><table><tr>"]
    out += [f"<th>{escaped(table.HEADINGS[index])}</th>" for index in (0, *columns)]
    out.append("</tr>")
    for cell, texts in zip(cells, rows):
        out.append(f"<tr><td>{escaped(texts[0])}</td>")
        if cell.problem:
            kind = "problem failed" if cell.failed else "problem"
            out.append(f'<td class="{kind}" colspan="{max(len(columns), 1)}">'
                       f"{escaped(texts[1])}</td>")
        else:
            out += [f"<td>{cell_html(texts[index])}</td>" for index in columns]
        out.append("</tr>")
    out.append("</table>")
    out += [f'<p class="limited">{escaped(note)}</p>' for note in table.notes(cells)]
    return "".join(out)


def lines_table(results):
    shown = []
    for cells in results.values():
        for cell in cells:
            if cell.variant.program and cell.variant not in shown:
                shown.append(cell.variant)
    out = ["<table><tr><th></th><th>own</th><th>shared</th><th>source</th></tr>"]
    for variant in shown:
        own, shared = code_lines.count(variant)
        out.append(f"<tr><td>{escaped(variant.title)}</td><td>{own}</td><td>{shared}</td>"
                   f"<td>{escaped(variant.source)}</td></tr>")
    return "".join(out) + "</table>"


def facts_table(facts):
    rows = "".join(f'<tr><td>{escaped(name)}</td><td class="problem">{escaped(text)}</td></tr>'
                   for name, text in facts.items())
    return f"<table>{rows}</table>"


def limited_note(results):
    marked = [(f"{cell.point.name}: {cell.variant.title}", heading) for cells in results.values()
              for cell in cells for heading in cell.limited_figures()]
    rates = [name for name, heading in marked if heading == figures.RATE.heading]
    latencies = sorted({name for name, heading in marked if heading != figures.RATE.heading})
    if not marked:
        return "<p>The load generator was the limit nowhere.</p>"
    said = []
    if rates:
        said.append(f"was the limit of {len(rates)} rates: {escaped('; '.join(rates))}")
    if latencies:
        said.append(f"has its own queue in the latencies of {escaped('; '.join(latencies))}")
    return ('<p class="limited">The load generator, not the server, ' + ", and ".join(said)
            + ".</p>")


def make_pictures(results):
    if not pictures.available():
        print("compare: gnuplot is not installed, so there are no pictures", file=sys.stderr)
        return []
    return pictures.make(results)


def write(folder, facts, results):
    """report.html, and each picture as NAME.svg."""
    drawn = make_pictures(results)
    for picture in drawn:
        with open(os.path.join(folder, picture.name + ".svg"), "w") as file:
            file.write(picture.svg)
    # Inside the page it takes the colour of the page.
    inline = "".join(f"<figure>{picture.svg.replace(pictures.STYLE, '')}</figure>"
                     for picture in drawn) or "<p>No picture was drawn: gnuplot is missing or failed.</p>"
    page = (f'<!doctype html><html lang="en"><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width,initial-scale=1">'
            f"<title>Echo servers compared</title><style>{STYLE}</style>"
            f"<h1>Echo servers compared</h1>{READING}{limited_note(results)}"
            f'<h2>Pictures</h2><div class="pictures">{inline}</div><h2>All points</h2>'
            + "".join(point_table(cells) for cells in results.values())
            + f"<h2>Lines of code</h2>{LINES_NOTE}{lines_table(results)}"
            f"<h2>The machine and the run</h2>{facts_table(facts)}</html>\n")
    with open(os.path.join(folder, "report.html"), "w") as file:
        file.write(page)
