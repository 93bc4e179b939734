"""The figures in which rondo is not the first, for what the documentation says of its losses."""
import re

import table

# What does by hand what an engine of rondo does.
BY_HAND = {"rondo-uring": "uring", "rondo-epoll": "epoll"}


def is_better(kind, one, other):
    return one < other if kind.smaller_is_better else one > other


def overlap(one, other):
    return one.low <= other.high and other.low <= one.high


def said(cell, kind):
    return f"{cell.variant.title} {table.figure_text(cell, kind)}"


def compared(cells, kind):
    """The pairs of a cell of rondo and one that is before it, whatever rondo's other engine does:
    the first of those that are not rondo's, and the same by hand."""
    known = {cell.variant.name: cell for cell in cells if not cell.problem and cell.figure(kind)}
    medians = {name: cell.figure(kind).median for name, cell in known.items()}
    others = [name for name in medians if name not in BY_HAND]
    if not others:
        return
    best = (min if kind.smaller_is_better else max)(others, key=medians.get)
    for name, by_hand in BY_HAND.items():
        for other in dict.fromkeys((best, by_hand)):
            if name in known and other in known and is_better(kind, medians[other], medians[name]):
                yield known[name], known[other]


def pairs(results):
    """(point, kind, rondo's cell, the other) of each such pair."""
    for point, cells in results.items():
        for kind in table.KINDS:
            for ours, other in compared(cells, kind):
                yield point, kind, ours, other


def lines(results):
    """One for each pair: the point, the figure, both, and whether their ranges overlap."""
    for point, kind, ours, other in pairs(results):
        unsure = " (the ranges overlap)" * overlap(ours.figure(kind), other.figure(kind))
        yield f"{point.name}, {kind.heading}: {said(ours, kind)}; {said(other, kind)}{unsure}"


HEADING = "| point | figure | rondo | ahead of it |"


def markdown(results):
    """Those beyond the spread, as a table for a page of documentation."""
    yield HEADING + "\n|---|---|---|---|"
    for point, kind, ours, other in pairs(results):
        if not overlap(ours.figure(kind), other.figure(kind)):
            yield f"| {point.name} | {kind.heading} | {said(ours, kind)} | {said(other, kind)} |"


def paragraphs(page):
    """Of the section about rondo's losses; an item of a list is one, too."""
    section = page.partition("### Where rondo loses")[2].partition("\n### ")[0]
    return [" ".join(text.split()) for text in re.split(r"\n\n|\n\* ", section)]


def has(text, words):
    return re.search(rf"(?<!\w){re.escape(words)}(?!\.?\w)", text, re.IGNORECASE)


def unnamed(page):
    """Of the page's table of losses, "POINT, FIGURE" of those that no paragraph names both of."""
    rows = page.partition(HEADING + "\n")[2].partition("\n\n")[0].splitlines()[1:]
    pairs_of_names = dict.fromkeys(tuple(row.strip("| ").split(" | ")[:2]) for row in rows)
    return [f"{point}, {figure}" for point, figure in pairs_of_names
            if not any(has(text, point) and has(text, figure) for text in paragraphs(page))]
