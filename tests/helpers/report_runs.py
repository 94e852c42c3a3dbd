"""Run directories made by hand, for what only reads them."""

import json
from pathlib import Path

import numpy as np
import yaml

from recbole_tme.evaluation.metrics import evaluate, slices
from recbole_tme.evaluation.ranks import Ranks
from recbole_tme.runs.itemlist import ItemList

N_ITEMS = 50
CLICKS = np.array([0] * 10 + [1] * 15 + [5] * 15 + [40] * 10)
IDS = [f"i{number}" for number in range(1, N_ITEMS + 1)]


def instances(n_sessions: int = 60, seed: int = 0) -> dict[str, np.ndarray]:
    """What a test set says of its instances; sessions of one to fourteen."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 15, n_sessions)
    length = np.concatenate([np.arange(1, count + 1) for count in counts])
    last = np.zeros(len(length), dtype=bool)
    last[np.cumsum(counts) - 1] = True
    return {
        "target": rng.integers(1, N_ITEMS + 1, len(length)).astype(np.int32),
        "session": np.repeat(np.arange(n_sessions), counts).astype(np.int32),
        "length": length.astype(np.int32),
        "is_repeat": rng.random(len(length)) < 0.4,
        "is_last_click": last,
    }


def some_ranks(strength: float, seed: int, n_sessions: int = 60) -> Ranks:
    """Ranks of a model that is the better the smaller ``strength`` is; sessions are easy or hard as a whole."""
    about = instances(n_sessions)
    rng = np.random.default_rng([7, seed])
    hardness = np.random.default_rng(3).gamma(2.0, 1.0, n_sessions)[about["session"]]
    better = np.minimum(rng.exponential(strength * hardness), N_ITEMS - 5).astype(np.int32)
    return Ranks(better=better, tied=(rng.random(len(better)) < 0.1).astype(np.int32), **about)


def details(ranks: Ranks, titles: bool = True, spectrum: bool = True) -> dict:
    """A ``details.json``."""
    positions = range(0, len(ranks), max(1, len(ranks) // 4))
    return {
        "cost": {"peak_memory_mb": 512.25, "query_ms": 1.5, "device": "cpu", "threads": 1},
        "beyond_accuracy": {"k": 20, "coverage": 0.5, "popularity": 0.75, "target_popularity": 0.625, "gini": 0.25},
        "spectrum": [1.0, 0.5, 0.25, 0.125] if spectrum else None,
        "examples": [
            {
                "instance": int(i),
                "session": [IDS[k] for k in range(int(ranks.length[i]))],
                "target": IDS[ranks.target[i] - 1],
                "rank": float(ranks.rank[i]),
                "recommended": [*IDS[:9], IDS[ranks.target[i] - 1]],
            }
            for i in positions
        ],
    }


def make_run(
    folder: Path,
    model: str,
    ranks: Ranks,
    seed: int = 1,
    dataset: str = "shop",
    epochs: int = 3,
    with_details: bool = True,
    titles: dict[str, str] | None = None,
    protocol: dict | None = None,
    cost: dict | None = None,
    **settings,
) -> Path:
    """A finished run's directory, without weights."""
    path = folder / dataset / model / f"20260101T000000-s{seed}-{len(list(folder.rglob('metrics.json'))):08x}"
    path.mkdir(parents=True)
    described = {
        "dataset": dataset,
        "data_sha256": "0" * 64,
        "items": N_ITEMS,
        "train_instances": 1000,
        "valid_instances": 100,
        "test_instances": len(ranks),
        "test_sessions": len(np.unique(ranks.session)),
        "max_clicks": 50,
        "select_on": "valid",
        "retrain": False,
    } | (protocol or {})
    config = {"model": model, "dataset": dataset, "seed": seed, "learning_rate": 0.001} | settings
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    ranks.save(path / "ranks.npz")
    (path / "items.txt").write_text("\n".join(["[PAD]", *IDS]) + "\n")
    (path / "environment.json").write_text(json.dumps({"command": f"recbole-tme run --model={model} --seed={seed}"}))
    rows = ["phase,epoch,lr,loss_recommendation,train_seconds,valid_seconds,valid_hit@20,valid_mrr@20"]
    rows += [f"select,{e},0.001,{5 / (e + seed)},1.5,0.5,{0.3 + 0.02 * e},{0.1 + 0.01 * e}" for e in range(epochs)]
    (path / "history.csv").write_text("\n".join([*rows, "retrain,0,0.001,4.5,1.5,,,"]) + "\n")
    if with_details:
        ItemList(IDS, CLICKS, titles or {}).write(path / "catalogue.json")
        described_run = details(ranks)
        described_run["cost"] |= {key: value for key, value in (cost or {}).items() if key in described_run["cost"]}
        (path / "details.json").write_text(json.dumps(described_run))
    result = {
        "model": model,
        "dataset": dataset,
        "seed": seed,
        "best_epoch": epochs - 1,
        "valid": {"mrr@20": 0.12},
        "test": evaluate(ranks),
        "slices": slices(ranks),
        "tie_share": ranks.tie_share,
        "parameters": 12345,
        "epoch_seconds": (cost or {}).get("epoch_seconds", 1.5),
        "seconds": 6.0,
        "protocol": described,
    }
    (path / "metrics.json").write_text(json.dumps(result))
    return path
