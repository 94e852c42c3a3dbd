"""Charts as inline SVG: drawn for a phone's width, coloured by the page's style sheet.

A drawing is as wide as ``WIDTH`` of its own units, in which letters are 11 to 12 high, and is stretched to its column.
Every figure is a mark with its words in ``data-tip``, which the page's script shows under the pointer and by the arrow
keys.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from html import escape

from recbole_tme.report.axes import Scale, scale, shown
from recbole_tme.report.labels import LINE, crowded, placed, spread
from recbole_tme.report.looks import Look

WIDTH = 360
LETTER = 7.3  # width of a letter at the size of labels, in a wide typeface
ASIDE = 3  # between the models' intervals in a category
DOT = 4  # half a point's width
MOST_DOTS = 25  # a line of more points has none drawn


@dataclass(frozen=True)
class Point:
    """A figure of a chart, its interval if it has one, and what is said of it."""

    x: float
    y: float
    said: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """A model's lines, such as one per seed."""

    look: Look
    lines: list[list[Point]]


@dataclass(frozen=True)
class Axes:
    """What a line chart's axes are.

    Attributes:
        x_label, y_label: their names.
        categories: names, two or more, of ``x`` = 0, 1, ...; without them ``x`` is a figure.
        zero: whether ``y`` begins at 0.
        whole: whether only whole numbers make sense for ``x``.
    """

    x_label: str
    y_label: str
    categories: Sequence[str] = field(default=())
    zero: bool = False
    whole: bool = False


def line_chart(series: Sequence[Series], axes: Axes, alt: str, shown_first: Collection[str]) -> str:
    """Lines with their models' places in the ranking at their ends.

    Args:
        series: at least one, each with a point.
        axes: what the axes are.
        alt: the drawing in words.
        shown_first: names of the models whose lines are seen until a reader chooses others.
    """
    top, left, right = 24, 38, WIDTH - 34
    height = max(210, top + LINE * (len(series) - 1))
    points = [point for one in series for line in one.lines for point in line]
    ends = [end for point in points for end in (point.y, point.low, point.high) if end is not None]
    y = scale(ends, height, top, zero=axes.zero)
    parts = grid_y(y, left, right, axes.y_label)
    if axes.categories:
        x = Scale(-0.4, len(axes.categories) - 0.6, left, right)
        parts += category_axis(x, height, axes.x_label, axes.categories)
    else:
        xs = [point.x for point in points]
        x = Scale(min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1, left, right)
        parts += grid_x(x, top, height, axes.x_label, whole=axes.whole)
    last = [max((line[-1] for line in one.lines), key=lambda point: point.x) for one in series]
    order = sorted(range(len(series)), key=lambda i: (y(last[i].y), i))
    slots = dict(zip(order, spread([y(last[i].y) for i in order], top, height)))
    for i, one in enumerate(series):
        # Side by side, so that intervals of one category do not cover each other.
        aside = (i % 7 - 3) * ASIDE if axes.categories else 0.0
        drawn = "".join(part for line in one.lines for part in _line_marks(line, x, y, aside))
        end = (x(last[i].x) + aside, y(last[i].y))
        drawn += _line(end[0] + 3, end[1], right + 8, slots[i], "leader")
        drawn += _text(right + 10, slots[i] + 4, str(one.look.place), "name", one.look.name)
        off = "" if one.look.name in shown_first else " off"
        parts.append(f'<g class="series {one.look.kind}{off}" data-model="{escape(one.look.name)}">{drawn}</g>')
    return _svg(height + 38 + LINE * bool(axes.categories), alt, parts)


def _line_marks(line: Sequence[Point], x: Scale, y: Scale, aside: float) -> list[str]:
    size = 2.5 if len(line) <= MOST_DOTS else 0.5
    path = " ".join(f"{x(point.x) + aside:.1f},{y(point.y):.1f}" for point in line)
    parts = [f'<polyline class="line" points="{path}"/>']
    for point in line:
        at = x(point.x) + aside
        if point.low is not None and point.high is not None:
            parts.append(_line(at, y(point.low), at, y(point.high), "bar"))
        parts.append(_mark(at, y(point.y), size, point.said))
    return parts


def scatter(points: Sequence[tuple[Look, Point]], front: Sequence[int], x_label: str, y_label: str, alt: str) -> str:
    """Points with their models' places in the ranking; ``x`` on a log scale.

    Args:
        points: at least one, x > 0.
        front: which of them no other one beats in both, by ascending ``x``; a line goes through them.
        x_label, y_label: what the axes are.
        alt: the drawing in words.
    """
    height, top, left, right = 250, 24, 38, WIDTH - 10
    x = scale([point.x for _, point in points], left + 6, right - 6, log=True)
    y = scale([point.y for _, point in points], height - 6, top + 6)
    parts = [*grid_y(y, left, right, y_label), *grid_x(x, top, height, x_label)]
    at = [(x(point.x), y(point.y)) for _, point in points]
    if len(front) > 1:
        # No cheaper model is as good as the height of the steps.
        steps = [f"{at[front[0]][0]:.1f},{at[front[0]][1]:.1f}"]
        for i in front[1:]:
            steps.append(f"H{at[i][0]:.1f}V{at[i][1]:.1f}")
        parts.append(f'<path class="front" d="M{"".join(steps)}"/>')
    widths = [LETTER * len(str(look.place)) + 2 for look, _ in points]
    boxes = placed(at, widths, (left, top, right, height), DOT)
    for (look, point), (a, b), box in zip(points, at, boxes):
        label_x, label_y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        drawn = ""
        if max(abs(label_x - a) - (box[2] - box[0]) / 2, abs(label_y - b) - LINE / 2) > DOT + 2.5:
            near = (min(max(a, box[0]), box[2]), min(max(b, box[1]), box[3]))
            drawn = _line(a, b, *near, "leader")
        drawn += _mark(a, b, DOT, point.said) + _text(label_x, label_y + 4, str(look.place), "name middle", look.name)
        parts.append(f'<g class="series {look.kind}" data-model="{escape(look.name)}">{drawn}</g>')
    return _svg(height + 38, alt, parts)


def pareto(points: Sequence[Point]) -> list[int]:
    """Which points no other one beats: none is as cheap and better, or as good and cheaper; by ascending ``x``."""
    front: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i].x, -points[i].y)):
        if not front or points[i].y > points[front[-1]].y:
            front.append(i)
    return front


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
    two = crowded([LETTER * len(name) for name in names], x(1) - x(0))
    parts = [_text(x(i), bottom + 15 + LINE * (two and i % 2), name, "tick middle") for i, name in enumerate(names)]
    return [*parts, _text((x.start + x.end) / 2, bottom + 30 + LINE * two, label, "label middle")]


def _mark(x: float, y: float, size: float, said: str) -> str:
    return f'<circle class="mark" cx="{x:.1f}" cy="{y:.1f}" r="{size:g}" data-tip="{escape(said)}"/>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, kind: str, title: str = "") -> str:
    said = f"<title>{escape(title)}</title>" if title and title != text else ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}{said}</text>'


def _svg(height: float, alt: str, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(alt)}">{"".join(parts)}</svg>'
