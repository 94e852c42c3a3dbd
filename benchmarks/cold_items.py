"""Items that nobody has clicked: a fifth of the catalogue hidden from training, found by what is known of it.

    python benchmarks/cold_items.py --into docs/production.md

On ml100k-sessions (titles, years and genres of RecBole's MovieLens), a fifth of the items, drawn at random, loses its
clicks in training and validation; the test stays whole. Each model is trained with and without ``item_content: all``.
Targets that are cold are ranked among the whole catalogue and among the cold items alone; chance is k divided by the
number of items ranked, and popularity, which has counted no click of a cold item, ranks all of them behind the rest and
alike. One thread.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from load import machine

from recbole_tme.config.load import load_config
from recbole_tme.data.ragged import keep_clicks, take_sessions
from recbole_tme.data.readers.atomic import read_dataset, write_dataset
from recbole_tme.data.readers.movielens import movielens_sessions
from recbole_tme.data.sessions import Sessions
from recbole_tme.data.split import by_last_click, validation_cut
from recbole_tme.evaluation.ranks import rank_all, target_ranks
from recbole_tme.experiment.loading import load_run
from recbole_tme.experiment.run import run
from recbole_tme.schema.property_files import properties_root
from recbole_tme.schema.yamlfile import read_settings
from recbole_tme.utils.files import insert_between

MARKERS = "<!-- cold items -->", "<!-- /cold items -->"
NAME = "ml100k-sessions"
K = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["TMEGNN", "SRGNN"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--hidden", type=float, default=0.2, help="share of the items")
    parser.add_argument("--epochs", type=int, help="default: each model's")
    parser.add_argument("--into", type=Path, help=f"put the table between {MARKERS[0]} and {MARKERS[1]} of this file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as folder:
        cold = hide(args.hidden, Path(folder))
        found = {}
        for model in args.models:
            for content in (None, "all"):
                for seed in range(args.seeds):
                    found.setdefault((model, content), []).append(figures(args, model, content, seed, cold, folder))
    text = report(args, cold, found)
    print(text)
    if args.into is not None:
        insert_between(args.into, *MARKERS, text)


def hide(share: float, folder: Path) -> np.ndarray:
    """Write the data set without training clicks on some items; returns which those are, bool ``[N + 1]``."""
    recipe = read_settings(properties_root() / "dataset" / f"{NAME}.yaml").values["sources"][0]["prepare"]
    data, _ = movielens_sessions(NAME, item_columns="all", **recipe)
    data = validation_cut(data, 0.1)
    hidden = np.zeros(len(data.tokens), dtype=bool)
    chosen = np.random.default_rng(0).permutation(np.arange(1, len(hidden)))[: round(share * (len(hidden) - 1))]
    hidden[chosen] = True
    parts = {name: without(getattr(data, name), hidden) for name in ("train", "valid")}
    write_dataset(folder, replace(data, whole_test=None, **parts), {"source": NAME})
    names = set(data.tokens[hidden])
    # Items are numbered anew, those of the test alone last; ones that the test does not click either are gone.
    read = read_dataset(folder / NAME, NAME)
    return np.array([token in names for token in read.tokens])


def without(sessions: Sessions, hidden: np.ndarray) -> Sessions:
    """Sessions without the clicks on some items."""
    kept = keep_clicks(sessions, ~hidden[sessions.items])
    return by_last_click(take_sessions(kept, kept.lengths >= 2))


def figures(args, model: str, content: str | None, seed: int, cold: np.ndarray, folder: str) -> dict[str, float]:
    """P@20 of one run on cold targets, among all and among cold items, and on warm targets."""
    settings = {"data_path": folder, "run_dir": f"{folder}/runs", "device": "cpu", "threads": 1}
    settings |= {"show_progress": False, "seed": seed, "item_content": content}
    if args.epochs is not None:
        settings["epochs"] = args.epochs
    loaded = load_run(run(load_config(model, NAME, config_dict=settings)).path)
    places = torch.from_numpy(np.flatnonzero(cold))
    number = torch.full((len(cold),), -1)
    number[places] = torch.arange(1, len(places) + 1)
    among = np.full(len(loaded.loaders[2].dataset), np.inf)
    targets = loaded.loaders[2].dataset.inter_feat[loaded.config["ITEM_ID_FIELD"]]

    def rank_among_cold(scores: torch.Tensor, index: torch.Tensor) -> None:
        of_cold = number[targets[index]] > 0
        rows, target = scores[of_cold], number[targets[index[of_cold]]]
        better, tied = target_ranks(torch.nn.functional.pad(rows[:, places], (1, 0)), target)
        among[index[of_cold].numpy()] = (1 + better + tied / 2).numpy()

    ranks = rank_all(loaded.model, loaded.loaders[2], torch.device("cpu"), observe=rank_among_cold)
    is_cold = cold[ranks.target]
    return {
        "cold": float((ranks.rank[is_cold] <= K).mean()),
        "among": float((among[is_cold] <= K).mean()),
        "warm": float((ranks.rank[~is_cold] <= K).mean()),
        "instances": int(is_cold.sum()),
        "of": len(ranks),
    }


def report(args, cold: np.ndarray, found: dict) -> str:
    """The figures as a Markdown table."""
    n, n_cold = len(cold) - 1, int(cold.sum())
    first = next(iter(found.values()))[0]
    given = f"--models {' '.join(args.models)} --seeds {args.seeds}"
    given += "" if args.epochs is None else f" --epochs {args.epochs}"
    lines = [
        f"`python benchmarks/cold_items.py {given}`: {NAME}, {n_cold} of {n:,} items without a click in training; "
        f"P@{K} in per cent, mean and range of {args.seeds} seeds. {first['instances']:,} of {first['of']:,} test "
        "targets are cold.",
        "",
        "| model | cold targets, among all items | cold targets, among cold items | other targets |",
        "|---|---:|---:|---:|",
        f"| chance | {100 * K / n:.1f} | {100 * K / n_cold:.1f} | {100 * K / n:.1f} |",
        f"| popularity | 0.0 | {100 * K / n_cold:.1f} | |",
    ]
    for (model, content), seeds in found.items():
        name = model if content is None else f"{model}, `item_content: {content}`"
        cells = []
        for key in ("cold", "among", "warm"):
            values = [100 * one[key] for one in seeds]
            cells.append(f"{np.mean(values):.1f} ({min(values):.1f} to {max(values):.1f})")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", machine()])


if __name__ == "__main__":
    main()
