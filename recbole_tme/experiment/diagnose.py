"""``recbole-tme diagnose``: how degenerate a run's item vectors are, and how it bears random clicks."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from recbole_tme.config.load import SessionConfig
from recbole_tme.config.result_settings import result_settings
from recbole_tme.data.dataset import SessionDataset
from recbole_tme.data.loader import SessionEvalLoader
from recbole_tme.data.noise import insert_random_items
from recbole_tme.errors import UserError
from recbole_tme.evaluation.metrics import evaluate
from recbole_tme.evaluation.summary import distinct_names, shown_name
from recbole_tme.experiment.diagnosis_plot import PlottingMissing, draw
from recbole_tme.experiment.loading import LoadedRun, load_run
from recbole_tme.experiment.run import rank_targets
from recbole_tme.nn.embedding_diagnostics import diagnose, item_vectors
from recbole_tme.runs.directory import RunDirectory
from recbole_tme.utils import tabular
from recbole_tme.utils.files import write_atomically, write_json

# Inserted clicks per click.
NOISE_RATES = (0.0, 0.05, 0.1, 0.2, 0.3)
METRICS = ("hit@20", "mrr@20")

FIGURES = {
    "mean_cosine": "mean cosine of two items",
    "mean_cosine_centred": "mean cosine, centred",
    "singular_area": "area under singular values",
    "effective_rank": "effective rank",
    "uniformity": "uniformity",
    "nearest_distance": "distance to nearest item",
}


def load_with_vectors(directory: RunDirectory, overrides: Mapping) -> tuple[LoadedRun, Tensor]:
    """A finished run and its item vectors, see ``load_run`` and ``item_vectors``.

    Raises:
        UserError: as ``load_run``, or the model has no item embedding.
    """
    loaded = load_run(directory.path, overrides)
    vectors = item_vectors(loaded.model, len(loaded.data.tokens))
    if vectors is None:
        name = loaded.config.registered_name
        raise UserError(f"{directory.path}: {name} has no item embedding table to diagnose; leave this run out")
    return loaded, vectors


def diagnose_run(loaded: LoadedRun, vectors: Tensor, seed: int = 0) -> dict:
    """All figures of a run as plain data.

    Popularity is the number of an item's clicks in the sessions that the model was trained on.

    Args:
        loaded: a finished run.
        vectors: its item vectors, ``[N, d]``.
        seed: of the inserted clicks.

    Raises:
        UserError: the model's scores hold NaN.
    """
    popularity = np.bincount(loaded.data.train.items, minlength=len(loaded.data.tokens))[1:]
    return {
        "model": loaded.config.registered_name,
        "dataset": loaded.config["dataset"],
        "seed": loaded.config["seed"],
        "embedding": asdict(diagnose(vectors, popularity)),
        "robustness": {"seed": seed, "curve": robustness(loaded, seed)},
    }


def robustness(loaded: LoadedRun, seed: int = 0) -> list[dict[str, float]]:
    """Test metrics with random items inserted into the sessions, see :func:`insert_random_items`.

    Returns:
        For each of ``NOISE_RATES`` a dict of ``rate`` and the ``METRICS``; rate 0 gives the run's own.
    """
    config, data, model, _ = loaded
    curve = []
    for rate in NOISE_RATES:
        noisy = replace(data, test=insert_random_items(data.test, rate, len(data.tokens) - 1, seed))
        test = SessionDataset(config, noisy).build()[2]
        metrics = evaluate(rank_targets(model, SessionEvalLoader(config, test), config), 20, ("Hit", "MRR"))
        curve.append({"rate": rate, **metrics})
    return curve


def names_of(configs: Sequence[SessionConfig]) -> list[str]:
    """Each run's model, and the settings that tell it from other runs of the same model, the seed among them."""
    return distinct_names(
        [config.registered_name for config in configs], [result_settings(config.plain()) for config in configs]
    )


def comparison_table(found: Sequence[Mapping]) -> str:
    """A line per figure, a column per run; metrics in percent, with what the noise leaves of them."""
    tables = [one["embedding"] for one in found]
    rows = [
        ["data set", *(one["dataset"] for one in found)],
        ["items x dimensions", *(f"{table['items']:,} x {table['dimensions']}" for table in tables)],
    ]
    for key, text in FIGURES.items():
        rows.append([text, *(figure(table[key]) for table in tables)])
    rows.append(["items compared for these two", *(compared(table) for table in tables)])
    rows.append(["norm and popularity, Spearman", *(figure(table["norm_popularity"]) for table in tables)])
    for metric in METRICS:
        for i, rate in enumerate(NOISE_RATES):
            text = f"{shown_name(metric)}, {rate:.0%} random clicks" if rate else shown_name(metric)
            rows.append([text, *(kept(one["robustness"]["curve"], i, metric) for one in found)])
    return tabular.aligned(["", *(one["name"] for one in found)], rows)


def figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def compared(table: Mapping) -> str:
    """How many items uniformity and nearest distance come from, each compared with all others."""
    return f"{table['anchors']:,} ({'all' if table['anchors'] == table['items'] else 'sampled'})"


def kept(curve: Sequence[Mapping[str, float]], i: int, metric: str) -> str:
    """The i-th value of a robustness curve in percent, and its change relative to the value without noise."""
    value, clean = curve[i][metric], curve[0][metric]
    text = f"{100 * value:.2f}"
    return text if i == 0 or clean == 0 else f"{text} ({value / clean - 1:+.1%})"


def write(found: Mapping[Path, Sequence[Mapping]], form: str) -> None:
    """Write the figures of some runs into folders, and their plots where matplotlib is installed.

    Raises:
        UserError: a folder cannot be written.
    """
    for folder, part in found.items():
        write_json(folder / "diagnosis.json", part)
    try:
        for folder, part in found.items():
            write_atomically(folder / f"diagnosis.{form}", draw(part, form))
    except PlottingMissing as error:
        print(f"note: {error}", file=sys.stderr)
