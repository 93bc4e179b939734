"""The figures in which rondo is not the first, for what the documentation says of its losses."""
import figures
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


def lines(results):
    """One for each such pair: the point, the figure, both, and whether their ranges overlap."""
    for point, cells in results.items():
        for kind in table.KINDS:
            for ours, other in compared(cells, kind):
                unsure = " (the ranges overlap)" * overlap(ours.figure(kind), other.figure(kind))
                yield f"{point.name}, {kind.heading}: {said(ours, kind)}; {said(other, kind)}{unsure}"
