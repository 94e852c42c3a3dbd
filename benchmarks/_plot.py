"""Growth curves as a picture, on logarithmic axes: a straight line of slope 1 grows in proportion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path


def growth(path: Path, x_label: str, y_label: str, curves: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    """Draw named curves of ``(x, y)`` points into a file, whose ending says its format."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    # The same bytes for the same figures, and letters that stay letters.
    with rc_context({"svg.hashsalt": "recbole_tme", "svg.fonttype": "none"}):
        figure = Figure(figsize=(7.5, 4), layout="constrained")
        axes = figure.add_subplot(xscale="log", yscale="log", xlabel=x_label, ylabel=y_label)
        for name, points in curves.items():
            axes.plot(*zip(*sorted(points)), marker="o", markersize=4, label=name)
        axes.grid(which="both", alpha=0.2)
        figure.legend(loc="outside right upper", frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
