"""Places for the numbers of a chart's points, so that none covers another one or a point."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

Box = tuple[float, float, float, float]
LINE = 13  # height of a line of labels
# Directions in which a place is looked for: right and left first, where a number is read most easily.
TURNS = (0.0, 1.0, 0.25, 0.75, -0.25, -0.75, 0.5, -0.5, 0.125, 0.875, -0.125, -0.875, 0.375, 0.625, -0.375, -0.625)


def placed(points: Sequence[tuple[float, float]], widths: Sequence[float], within: Box, dot: float) -> list[Box]:
    """A box for each point's label, near its point.

    Args:
        points: middles of the points.
        widths: of the labels.
        within: left, top, right and bottom of the room there is.
        dot: half the width of a point, which labels keep free.

    Returns:
        The boxes, in the order of the points: left, top, right and bottom. They cover neither one another nor a point
        as long as there is room at all; what finds none goes to the room's lower edge.
    """
    taken: list[Box] = [(x - dot, y - dot, x + dot, y + dot) for x, y in points]
    found = []
    for (x, y), width in zip(points, widths):
        box = next(
            (
                box
                for box in _candidates(x, y, width, dot)
                if _inside(box, within) and not any(overlap(box, other) for other in taken)
            ),
            (within[0], within[3] - LINE, within[0] + width, within[3]),
        )
        taken.append(box)
        found.append(box)
    return found


def _candidates(x: float, y: float, width: float, dot: float):
    for ring in range(40):
        away = dot + 2 + ring * 4
        for turn in TURNS:
            across, down = math.cos(math.pi * turn), -math.sin(math.pi * turn)
            left = x + across * (away + width / 2) - width / 2
            top = y + down * (away + LINE / 2) - LINE / 2
            yield left, top, left + width, top + LINE


def spread(positions: Sequence[float], top: float, bottom: float, gap: float = LINE) -> list[float]:
    """Positions at least ``gap`` apart, in the same order and close to the wanted ones, which are sorted."""
    found = list(positions)
    for i in range(1, len(found)):
        found[i] = max(found[i], found[i - 1] + gap)
    if found and found[-1] > bottom:
        found[-1] = bottom
        for i in range(len(found) - 2, -1, -1):
            found[i] = min(found[i], found[i + 1] - gap)
    return [max(place, top - gap) for place in found]


def crowded(widths: Sequence[float], room: float) -> bool:
    """Whether neighbours of some widths run into one another where each has ``room``."""
    return any((first + second) / 2 > room for first, second in pairwise(widths))


def overlap(a: Box, b: Box) -> bool:
    """Whether two boxes share more than an edge."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _inside(box: Box, within: Box) -> bool:
    return within[0] <= box[0] and box[2] <= within[2] and within[1] <= box[1] and box[3] <= within[3]
