"""The plots of a study: its history, its settings side by side, and which of them matter. Needs matplotlib."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from recbole_tme.tuning.journal import FAILED, Trial
from recbole_tme.tuning.space import Parameter
from recbole_tme.tuning.study import Study
from recbole_tme.utils.files import write_atomically
from recbole_tme.utils.installing import install_extra

# Below this many scored trials nothing can be said about what matters.
ENOUGH = 5


def write_plots(study: Study) -> str | None:
    """Draw ``history.png``, ``parallel.png`` and, with scikit-learn and enough trials, ``importance.png``.

    Returns:
        Why there are none, where matplotlib is not installed or no trial has a score; else None.
    """
    scored = [trial for trial in study.trials if trial.rows and trial.status != FAILED]
    if not scored:
        return "no plots: no trial has a score"
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return f"no plots, they need matplotlib; run: {install_extra('plot')}"
    drawings: dict[str, Callable] = {"history": draw_history, "parallel": draw_parallel}
    if importances(study, scored):
        drawings["importance"] = draw_importance
    for name, draw in drawings.items():
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        draw(figure, study, scored)
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=150)
        write_atomically(Path(study.folder) / f"{name}.png", content.getvalue())
    return None


def draw_history(figure, study: Study, trials: Sequence[Trial]) -> None:
    """Each trial's score, and the best so far."""
    axes = figure.subplots()
    numbers = [trial.number for trial in trials]
    scores = [100 * trial.rows[-1]["score"] for trial in trials]
    for status in dict.fromkeys(trial.status for trial in trials):
        chosen = [i for i, trial in enumerate(trials) if trial.status == status]
        axes.scatter([numbers[i] for i in chosen], [scores[i] for i in chosen], label=status, s=18)
    axes.step(numbers, np.maximum.accumulate(scores), where="post", color="black", linewidth=1, label="best so far")
    axes.set(xlabel="trial", ylabel=f"{study.metric} on validation (%)")
    axes.legend()


def draw_parallel(figure, study: Study, trials: Sequence[Trial]) -> None:
    """A line per trial through its settings, coloured by score; a key that a trial does not have breaks its line."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    axes = figure.subplots()
    parameters = study.space.parameters
    scores = np.array([100 * trial.rows[-1]["score"] for trial in trials])
    shade = ScalarMappable(Normalize(scores.min(), scores.max()), colormaps["viridis"])
    for i in np.argsort(scores):
        heights = [place(parameter, trials[i].settings.get(parameter.name)) for parameter in parameters]
        axes.plot(range(len(parameters)), heights, color=shade.to_rgba(scores[i]), alpha=0.8, marker=".")
    axes.set_xticks(range(len(parameters)), [parameter.name for parameter in parameters], rotation=30, ha="right")
    axes.set(yticks=[], ylim=(-0.08, 1.08))
    for x, parameter in enumerate(parameters):
        for value, text in ends(parameter):
            axes.annotate(text, (x, value), fontsize=7, xytext=(3, 0), textcoords="offset points", va="center")
    figure.colorbar(shade, ax=axes, label=f"{study.metric} on validation (%)")


def draw_importance(figure, study: Study, trials: Sequence[Trial]) -> None:
    """How much of the scores' variation goes with each key."""
    found = sorted(importances(study, trials).items(), key=lambda pair: pair[1])
    axes = figure.subplots()
    axes.barh([name for name, _ in found], [100 * share for _, share in found])
    axes.set(xlabel=f"share of the variation of {study.metric} over the trials (%)")


def importances(study: Study, trials: Sequence[Trial]) -> dict[str, float]:
    """The share of each key in a random forest's explanation of the scores; empty where nothing can be said.

    The forest sees a key's place in its range, and 'not there' for a key that a trial does not have, and the number of
    epochs, so that an early stop is not taken for the settings' doing.
    """
    try:
        from sklearn.ensemble import RandomForestRegressor
    except ImportError:
        return {}
    scores = np.array([trial.score for trial in trials])
    if len(trials) < ENOUGH or np.ptp(scores) == 0:
        return {}
    names = [parameter.name for parameter in study.space.parameters]
    columns = [
        [place(parameter, trial.settings.get(parameter.name)) for trial in trials]
        for parameter in study.space.parameters
    ]
    columns.append([len(trial.rows) for trial in trials])
    forest = RandomForestRegressor(n_estimators=200, random_state=0)
    shares = forest.fit(np.nan_to_num(np.array(columns).T, nan=-1.0), scores).feature_importances_[:-1]
    return dict(zip(names, shares / shares.sum())) if shares.sum() > 0 else {}


def place(parameter: Parameter, value) -> float:
    """Where in its range a value lies, 0 to 1; NaN for none."""
    if value is None:
        return float("nan")
    if parameter.kind == "choice":
        ordered = ranked(parameter)
        return ordered.index(value) / max(1, len(ordered) - 1)
    scale = np.log if parameter.kind == "loguniform" else float
    low, high = (scale(end) for end in parameter.values)
    return (scale(value) - low) / (high - low)


def ends(parameter: Parameter) -> list[tuple[float, str]]:
    """Heights and texts beside a key's axis."""
    values = ranked(parameter) if parameter.kind == "choice" else parameter.values
    return [(place(parameter, value), f"{value:g}" if isinstance(value, float) else str(value)) for value in values]


def ranked(parameter: Parameter) -> list:
    """The choices by size where they are numbers, else in the file's order."""
    numbers = all(isinstance(value, (int, float)) for value in parameter.values)
    return sorted(parameter.values) if numbers else list(parameter.values)
