"""The plot of ``diagnose``: singular values and what random clicks cost. Needs matplotlib, an optional extra."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from recbole_tme.evaluation.summary import shown_name
from recbole_tme.utils.installing import install_extra


class PlottingMissing(Exception):
    """Matplotlib is not installed; the message says how to get it."""


def draw(found: Sequence[Mapping], form: str = "png") -> bytes:
    """Draw the curves of some runs side by side.

    Args:
        found: what ``diagnose_run`` gave, each with its ``name``.
        form: "png" or "svg".

    Returns:
        The image file's content.

    Raises:
        PlottingMissing: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PlottingMissing(f"no plot, it needs matplotlib; run: {install_extra('plot')}") from error
    metrics = [key for key in found[0]["robustness"]["curve"][0] if key != "rate"]
    drawing = Figure(figsize=(4.5 * (1 + len(metrics)), 3.8), layout="constrained")
    spectrum, *noise = drawing.subplots(1, 1 + len(metrics))
    for one in found:
        values = one["embedding"]["singular_values"]
        spectrum.plot(range(1, len(values) + 1), values, label=one["name"])
        curve = one["robustness"]["curve"]
        for axes, metric in zip(noise, metrics):
            axes.plot([100 * point["rate"] for point in curve], [100 * point[metric] for point in curve], marker="o")
    spectrum.set(title="item embedding table", xlabel="k", ylabel="k-th singular value / largest", ylim=(0, None))
    for axes, metric in zip(noise, metrics):
        axes.set(title="test sessions with random clicks", xlabel="inserted clicks per 100 clicks")
        axes.set(ylabel=f"{shown_name(metric)} (%)", ylim=(0, None))
    drawing.legend(loc="outside lower center", ncols=max(1, 3 - len(found) // 4))
    content = io.BytesIO()
    # A date would make every file another one.
    drawing.savefig(content, format=form, dpi=150, metadata={"Date": None} if form == "svg" else None)
    return content.getvalue()
