"""Experiment files: settings that can be run again, with the figures that were measured with them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from recbole_tme.config.load import load_config
from recbole_tme.config.result_settings import result_settings
from recbole_tme.errors import UserError
from recbole_tme.evaluation.summary import shown_name
from recbole_tme.utils.files import write_atomically

MARK = "# Measured"
METRICS = ("hit@10", "mrr@10", "hit@20", "mrr@20")
# Keys of one loss_type, which change nothing with another; with auto they may.
OF_LOSS = {
    **dict.fromkeys(("n_sampled", "in_batch_negatives"), "sampled"),
    **dict.fromkeys(("n_buckets", "bucket_sessions", "bucket_items"), "scalable"),
}


def write_figures(folder: Path, results: Sequence[dict]) -> None:
    """Put the mean figures of the results with an experiment's settings at the head of its file.

    Args:
        folder: the experiment files, ``<paper>_<model>_<data set>.yaml``.
        results: as from ``metrics.json``.

    Raises:
        UserError: the folder holds no experiment file, or one of them is no valid configuration.
    """
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise UserError(f"{folder} holds no experiment file (*.yaml); name a folder such as properties/experiment")
    for file in files:
        text = file.read_text(encoding="utf-8")
        kept = [line for line in text.splitlines() if not line.startswith(MARK)]
        new = "\n".join([figures(file, results), *kept]) + "\n"
        if new != text:
            write_atomically(file, new.encode())


def figures(file: Path, results: Sequence[dict]) -> str:
    """The line of figures for one experiment file."""
    config = load_config(config_files=[file])
    wanted = result_settings(config.plain())
    runs = one_per_seed(result for result in results if is_run_of(result, wanted))
    if not runs:
        return f"{MARK}: not yet."
    means = ", ".join(f"{shown_name(m)} {100 * statistics.fmean(run['test'][m] for run in runs):.2f}" for m in METRICS)
    return f"{MARK} on the test set, {len(runs)} seed{'s' * (len(runs) > 1)}: {means}."


def one_per_seed(results: Iterable[dict]) -> list[dict]:
    """The last result of each seed: a run that was repeated is no further seed."""
    return list({result["seed"]: result for result in results}.values())


def is_run_of(result: dict, wanted: dict) -> bool:
    """Whether a result was made with these settings, whatever the seed; settings that are younger than it do not
    count, nor those of a loss that neither has."""
    settings = result.get("settings")
    if not settings:
        return False
    shared = (set(settings) & set(wanted)) - {"seed"}
    shared -= {key for key, loss in OF_LOSS.items() if wanted.get("loss_type") not in ("auto", loss)}
    return {"model", "dataset"} <= shared and all(settings[key] == wanted[key] for key in shared)
