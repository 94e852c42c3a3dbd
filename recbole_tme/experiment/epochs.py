"""What is said of a training's epochs: an aligned row for people, every figure for the log and for trackers."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from recbole_tme.evaluation.summary import shown_name, shown_value
from recbole_tme.utils import terminal

# What a row of a training phase begins with.
PHASES = {"select": "epoch", "retrain": "retrain", "all": "fit all", "update": "update"}
_LOSS, _VALID = "loss_", "valid_"
LONGEST_TIME_LEFT = len("about 55 min left")


def total_loss(row: Mapping[str, Any]) -> float:
    """The sum of an epoch's named losses."""
    return sum(value for name, value in row.items() if name.startswith(_LOSS))


def losses(row: Mapping[str, Any]) -> dict[str, float]:
    """An epoch's losses by name."""
    return {name.removeprefix(_LOSS): value for name, value in row.items() if name.startswith(_LOSS)}


def valid_metrics(row: Mapping[str, Any]) -> dict[str, float]:
    """An epoch's validation metrics as fractions, by key such as ``mrr@20``; empty where nothing was validated."""
    return {name.removeprefix(_VALID): value for name, value in row.items() if name.startswith(_VALID) and "@" in name}


def seconds_of(row: Mapping[str, Any]) -> float:
    """How long an epoch took, validation included."""
    return row["train_seconds"] + row.get("valid_seconds", 0.0)


def remaining(rows: Sequence[Mapping[str, Any]], epochs: int, retrained: int) -> float:
    """Seconds that a training phase will take yet, if it does not stop early.

    Args:
        rows: its epochs so far.
        epochs: the most it will have.
        retrained: epochs of a further training, without validation, that follows.
    """
    typical = statistics.median(map(seconds_of, rows))
    return (epochs - rows[-1]["epoch"]) * typical + retrained * statistics.median(row["train_seconds"] for row in rows)


def shown_row(row: Mapping[str, Any], epochs: int, metric: str, best: bool, left: float | None) -> list[terminal.Piece]:
    """An epoch as one aligned row: loss, the metric that selects and one beside it in per cent, seconds, time left.

    Args:
        row: of the history; its epoch is counted from 1.
        epochs: the most there will be.
        metric: key of the metric that selects.
        best: whether it is the best epoch so far.
        left: seconds until the end; None after the last epoch.
    """
    number = f"{PHASES.get(row['phase'], row['phase'])} {row['epoch']:>{len(str(epochs))}}/{epochs}"
    loss = total_loss(row)
    cells: list[tuple[str, str]] = [(number, ""), (f"loss {loss:>5.{2 if loss >= 1 else 3}f}", "")]
    found = valid_metrics(row)
    if metric in found:
        cells.append((_percent(metric, found[metric]) + (" *best" if best else "      "), "good" if best else ""))
    if (other := _beside(metric, found)) is not None:
        cells.append((_percent(other, found[other]), ""))
    cells.append((f"{terminal.duration(seconds_of(row)):>6}", "faint"))
    width = terminal.columns()
    # On a narrow terminal what matters least goes: the second metric, the loss, the seconds.
    for place in (3, 1, -1):
        if _width(cells) > width and len(cells) > 2:
            cells.pop(place)
    if left is not None:
        text = terminal.time_left(left)
        about = _width(cells) + 2 + LONGEST_TIME_LEFT <= width
        text = text if about else text.replace("about ", "~")
        if _width(cells) + 2 + len(text) <= width:
            cells.append((text, "faint"))
    pieces: list[terminal.Piece] = [cells[0][0]]
    for cell in cells[1:]:
        pieces += ["  ", cell]
    return pieces


def log_line(row: Mapping[str, Any], epochs: int, best: bool) -> str:
    """An epoch with all its figures, metrics in per cent, for a log."""
    parts = [f"loss {total_loss(row):.6g}"]
    if len(named := losses(row)) > 1:
        parts[0] += f" ({', '.join(f'{name} {value:.6g}' for name, value in named.items())})"
    parts.append(f"lr {row['lr']:.4g}")
    parts += [f"{shown_name(name)} {shown_value(name, value):.2f}" for name, value in valid_metrics(row).items()]
    parts.append(f"trained in {row['train_seconds']:.1f} s")
    if "valid_seconds" in row:
        parts.append(f"validated in {row['valid_seconds']:.1f} s")
    phase = PHASES.get(row["phase"], row["phase"])
    return f"{phase} {row['epoch']}/{epochs}{' *best' if best else ''}: {', '.join(parts)}"


def _percent(metric: str, value: float) -> str:
    return f"{shown_name(metric)} {shown_value(metric, value):>5.2f}"


def _beside(metric: str, found: Mapping[str, float]) -> str | None:
    """The metric shown beside the one that selects: at the same K P, or MRR where P selects, else any other."""
    k = metric.partition("@")[2]
    others = [name for name in (f"hit@{k}", f"mrr@{k}", *found) if name != metric and name in found]
    return others[0] if others else None


def _width(cells: Sequence[tuple[str, str]]) -> int:
    return sum(len(text) for text, _ in cells) + 2 * (len(cells) - 1)
