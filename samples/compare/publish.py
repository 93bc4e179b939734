"""Puts the results of a run into the documentation: its tables and machine, and its pictures."""
import glob
import json
import os

import code_lines
import losses
import pictures
import rounds_csv
import table

# Between these lines of docs/benchmarks.md; what stands there is replaced.
BEGIN = "<!-- results of samples/compare: written by `samples/compare/main.py --publish DIR` -->"
END = "<!-- end of the results of samples/compare -->"
# Of all pictures, those the page shows.
SHOWN = ("connections-rate", "connections-cpu_us_per_message", "connections-p99_us",
         "sizes-rate", "ping-pong-128-x-64-b-system-calls", "idle-8000-x-64-b-memory",
         "short-16-x-64-b-rate", "room-1000-x-64-b-rate")


def lines_rows(results):
    shown = []
    for cells in results.values():
        for cell in cells:
            if cell.variant.program and cell.variant not in shown:
                shown.append(cell.variant)
    for variant in shown:
        own, shared = code_lines.count(variant)
        yield f"| {variant.title} | `{variant.source}` | {own} | {shared} |"


def text_of(results, facts, drawn):
    """The Markdown between the two lines."""
    yield "| | |\n|---|---|"
    yield from (f"| {name} | {text} |" for name, text in facts.items())
    yield ""
    yield from (f"![{picture.title}](images/compare-{picture.name}.svg)\n" for picture in drawn)
    yield "<details><summary>Where rondo is behind, and the ranges do not overlap</summary>\n"
    yield from losses.markdown(results)
    yield "\n</details>\n"
    yield "<details><summary>All points, as tables</summary>\n"
    for cells in results.values():
        yield f"#### {table.heading(cells)}\n"
        yield from table.markdown(cells)
        yield ""
    yield from (note + ".\n" for note in table.notes(
        [cell for cells in results.values() for cell in cells]))
    yield "</details>\n"
    yield "#### Lines of code\n"
    yield "| | source | own | shared |\n|---|---|---:|---:|"
    yield from lines_rows(results)


def replaced(page, text):
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit("compare: docs/benchmarks.md has no place for the results")
    return before + begin + "\n\n" + text.strip() + "\n\n" + end + after


def read(folder):
    """The facts and the results of an earlier run."""
    path = os.path.join(folder, "machine.json")
    try:
        with open(path) as file:
            facts = json.load(file)
        if not isinstance(facts, dict):
            raise SystemExit(f"compare: {path} is not of a run")
        return facts, rounds_csv.read(os.path.join(folder, "rounds.csv"))
    except (OSError, rounds_csv.Foreign) as failure:
        raise SystemExit(f"compare: no run is there: {failure}") from None
    except ValueError as failure:
        raise SystemExit(f"compare: {path} is not of a run: {failure}") from None


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def publish(folder, docs):
    facts, results = read(folder)
    if not pictures.available():
        raise SystemExit("compare: gnuplot is not installed, so there are no pictures")
    images, path = os.path.join(docs, "images"), os.path.join(docs, "benchmarks.md")
    drawn = [picture for picture in pictures.make(results) if picture.name in SHOWN]
    files = {"compare.svg": pictures.front_page(results)}
    files.update((f"compare-{picture.name}.svg", picture.svg) for picture in drawn)
    # All that may fail by what is in the run or the page comes first.
    try:
        with open(path) as file:
            page = replaced(file.read(), "\n".join(text_of(results, facts, drawn)))
        os.makedirs(images, exist_ok=True)
        for name, svg in files.items():
            write(os.path.join(images, name), svg)
        write(path, page)
        for old in glob.glob(os.path.join(images, "compare-*.svg")):
            if os.path.basename(old) not in files:
                os.unlink(old)  # of a run with other points
    except OSError as failure:
        raise SystemExit(f"compare: {failure}") from None
    print('Where rondo is not the first; "Where rondo loses" of that page is to say as much:')
    for line in losses.lines(results):
        print("  " + line)
    unnamed = losses.unnamed(page)
    if unnamed:
        raise SystemExit('compare: "Where rondo loses" does not name, though the ranges do not '
                         "overlap: " + "; ".join(unnamed))
