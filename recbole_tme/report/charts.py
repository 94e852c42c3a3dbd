"""Charts as inline SVG: drawn for a phone's width, coloured by the page's style sheet.

A drawing is as wide as ``WIDTH`` of its own units, in which letters are 11 to 12 high, and is stretched to its column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

from recbole_tme.report.axes import Scale, scale, shown, with_sign

WIDTH = 360
LETTER = 7.3  # width of a letter at the size of labels, in a wide typeface
LINE = 13  # height of a line of labels
LABEL_LETTERS = 14
COLOURS = 8
ASIDE = 4  # between the models' intervals in a category


@dataclass(frozen=True)
class Series:
    """A model's points.

    Attributes:
        name: of the model.
        number: its place in the ranking from 0, which decides its colour.
        lines: points ``(x, y)`` of each line, such as one per seed.
        bars: ``(x, low, high)`` of intervals.
    """

    name: str
    number: int
    lines: list[list[tuple[float, float]]]
    bars: list[tuple[float, float, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Interval:
    """A row of an interval plot: a figure and its interval (NaN-free), ``marked`` for the reference."""

    name: str
    value: float
    low: float
    high: float
    marked: bool = False


def interval_plot(rows: Sequence[Interval], x_label: str, alt: str, signed: bool = False) -> str:
    """A row per model: its name and figure, and below them a dot on its interval.

    Args:
        rows: at least one.
        x_label: what the figures are.
        alt: the drawing in words.
        signed: whether the figures are differences, with a line at 0; else the line is at the marked row's figure.
    """
    height, top, right = 30, 6, WIDTH - 50
    bottom = top + height * len(rows)
    ends = [end for row in rows for end in (row.low, row.high)]
    x = scale([*ends, 0.0] if signed else ends, 8, right)
    parts = grid_x(x, top, bottom, x_label)
    for line in [0.0] if signed else [row.value for row in rows if row.marked]:
        parts.append(_line(x(line), top, x(line), bottom, "rule"))
    for i, row in enumerate(rows):
        y = top + height * i
        figure = with_sign(row.value) if signed else f"{row.value:.2f}"
        kind = "reference" if row.marked else "s0"
        parts += [
            _text(8, y + 12, short(row.name, int((WIDTH - 16) / LETTER)), "name", row.name),
            _text(WIDTH - 4, y + 25, figure, "name end"),
            _line(x(row.low), y + 21, x(row.high), y + 21, f"interval {kind}"),
            f'<circle class="dot {kind}" cx="{x(row.value):.1f}" cy="{y + 21}" r="3.5"/>',
        ]
    return _svg(bottom + 38, alt, parts)


def line_chart(
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    alt: str,
    categories: Sequence[str] = (),
    zero: bool = False,
    whole: bool = False,
) -> str:
    """Lines with their names at their ends.

    Args:
        series: at least one, each with a point.
        x_label, y_label: what the axes are.
        alt: the drawing in words.
        categories: names, two or more, of ``x`` = 0, 1, ...; without them ``x`` is a figure.
        zero: whether ``y`` begins at 0.
        whole: whether only whole numbers make sense for ``x``.
    """
    height, top, left = 210, 24, 38
    right = WIDTH - 14 - LETTER * max(len(short(one.name)) for one in series)
    points = [point for one in series for line in one.lines for point in line]
    ends = [end for one in series for _, *bar in one.bars for end in bar]
    y = scale([*(p[1] for p in points), *ends], height, top, zero=zero)
    parts = grid_y(y, left, right, y_label)
    if categories:
        x = Scale(-0.3, len(categories) - 0.7, left, right)
        parts += category_axis(x, height, x_label, categories)
    else:
        xs = [p[0] for p in points]
        x = Scale(min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1, left, right)
        parts += grid_x(x, top, height, x_label, whole=whole)
    labels = []
    for i, one in enumerate(series):
        look = colour(one.number)
        # Side by side, so that intervals of one category do not cover each other.
        aside = (i - (len(series) - 1) / 2) * ASIDE if categories else 0.0
        moved = [[(x(a) + aside, y(b)) for a, b in line] for line in one.lines]
        parts += [_line(x(at) + aside, y(low), x(at) + aside, y(high), f"bar {look}") for at, low, high in one.bars]
        for line in moved:
            path = " ".join(f"{a:.1f},{b:.1f}" for a, b in line)
            parts.append(f'<polyline class="line {look}" points="{path}"><title>{escape(one.name)}</title></polyline>')
            if categories or len(line) < 12:
                parts += [f'<circle class="dot {look}" cx="{a:.1f}" cy="{b:.1f}" r="2.5"/>' for a, b in line]
        end_x, end_y = max(moved, key=lambda line: line[-1][0])[-1]
        labels.append((end_y, end_x, one.name, look))
    labels.sort()
    for at, (end_y, end_x, name, look) in zip(spread([label[0] for label in labels], top, height), labels):
        parts.append(_line(end_x + 3, end_y, right + 8, at, f"leader {look}"))
        parts.append(_text(right + 10, at + 4, short(name), "name", name))
    return _svg(height + 38 + LINE * bool(categories), alt, parts)


def scatter(points: Sequence[tuple[str, int, float, float]], x_label: str, y_label: str, alt: str) -> str:
    """Named points; ``x`` on a log scale.

    Args:
        points: name, place in the ranking, x > 0 and y of each; at least one.
        x_label, y_label: what the axes are.
        alt: the drawing in words.
    """
    height, top, left, right = 250, 24, 38, WIDTH - 10
    x = scale([point[2] for point in points], left, right, log=True)
    y = scale([point[3] for point in points], height, top)
    parts = [*grid_y(y, left, right, y_label), *grid_x(x, top, height, x_label)]
    taken = [_box(x(a) - 5, y(b), 10) for *_, a, b in points]
    for name, number, a, b in sorted(points, key=lambda point: -point[3]):
        text = short(name)
        width = LETTER * len(text)
        at_x, at_y = _free_place(x(a), y(b), width, taken, (left, right), (top, height))
        taken.append(_box(at_x, at_y, width))
        if abs(at_y - y(b)) > LINE:
            parts.append(_line(x(a), y(b), min(max(x(a), at_x), at_x + width), at_y, f"leader {colour(number)}"))
        parts.append(f'<circle class="dot {colour(number)}" cx="{x(a):.1f}" cy="{y(b):.1f}" r="4.5"/>')
        parts.append(_text(at_x, at_y + 4, text, "name", name))
    return _svg(height + 38, alt, parts)


def grid_x(x: Scale, top: float, bottom: float, label: str, whole: bool = False) -> list[str]:
    """Vertical lines with their figures below, and the axis's name."""
    parts = []
    for tick in x.ticks(6):
        if not whole or tick == int(tick):
            parts.append(_line(x(tick), top, x(tick), bottom, "grid"))
            parts.append(_text(x(tick), bottom + 15, shown(tick), "tick middle"))
    return [*parts, _text((x.start + x.end) / 2, bottom + 30, label, "label middle")]


def grid_y(y: Scale, left: float, right: float, label: str) -> list[str]:
    """Horizontal lines with their figures to the left, and the axis's name above them."""
    parts = [_text(2, 12.5, label, "label")]
    for tick in y.ticks(6):
        parts.append(_line(left, y(tick), right, y(tick), "grid"))
        parts.append(_text(left - 5, y(tick) + 4, shown(tick), "tick end"))
    return parts


def category_axis(x: Scale, bottom: float, label: str, names: Sequence[str]) -> list[str]:
    """The categories' names below ``x`` = 0, 1, ..., and the axis's name."""
    # Names that would run into each other stand on two lines in turn.
    widest = max(len(a) + len(b) for a, b in pairwise(names)) / 2
    crowded = widest * LETTER > x(1) - x(0)
    parts = [_text(x(i), bottom + 15 + LINE * (crowded and i % 2), name, "tick middle") for i, name in enumerate(names)]
    return [*parts, _text((x.start + x.end) / 2, bottom + 30 + LINE * crowded, label, "label middle")]


def spread(positions: Sequence[float], top: float, bottom: float, gap: float = LINE) -> list[float]:
    """Positions at least ``gap`` apart, in the same order and close to the wanted ones, which are sorted."""
    placed = list(positions)
    for i in range(1, len(placed)):
        placed[i] = max(placed[i], placed[i - 1] + gap)
    if placed and placed[-1] > bottom:
        placed[-1] = bottom
        for i in range(len(placed) - 2, -1, -1):
            placed[i] = min(placed[i], placed[i + 1] - gap)
    return [max(place, top - LINE) for place in placed]


def short(name: str, most: int = LABEL_LETTERS) -> str:
    """A name of at most so many letters: its model, and the last of what sets it apart."""
    if len(name) <= most:
        return name
    head = name.partition(" ")[0][: most - 6]
    tail = name[len(head) + 2 - most :]
    start = tail.find(" ") + 1 or max(0, tail.rfind("="))
    return f"{head} …{tail[start:]}"


def colour(number: int) -> str:
    """The classes that colour a model, and dash its lines once the colours are used up."""
    return f"s{number % COLOURS}" + (" dashed" if number >= COLOURS else "")


def _free_place(x, y, width, taken, across, along) -> tuple[float, float]:
    """Where a label of some width near a point covers no other: beside it, else a little higher or lower."""
    for away in range(12):
        for sign in (-1, 1):
            for at in (x + 8, x - 8 - width):
                box = _box(at, y + sign * away * LINE / 2, width)
                inside = across[0] <= box[0] and box[2] <= across[1] and along[0] <= box[1] and box[3] <= along[1]
                if inside and not any(_overlap(box, other) for other in taken):
                    return at, y + sign * away * LINE / 2
    return max(across[0], min(x + 8, across[1] - width)), y


def _box(x: float, y: float, width: float) -> tuple[float, float, float, float]:
    return x, y - LINE / 2, x + width, y + LINE / 2


def _overlap(a, b) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, kind: str, title: str = "") -> str:
    said = f"<title>{escape(title)}</title>" if title and title != text else ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}{said}</text>'


def _svg(height: float, alt: str, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(alt)}">{"".join(parts)}</svg>'
