"""What ``details.json`` of a run says beside its metrics: what it costs, what it recommends, and to whom.

Everything but the cost comes from one pass over the test set, the one that ranks its targets. The example instances
depend on the protocol alone, so that those of several runs can be laid side by side.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor, nn

from recbole_tme.config.load import SessionConfig
from recbole_tme.data.loader import SessionEvalLoader
from recbole_tme.data.sessions import SessionData
from recbole_tme.evaluation.beyond_accuracy import best_items, gini
from recbole_tme.evaluation.protocol import Protocol
from recbole_tme.evaluation.ranks import Ranks, rank_all, scorer
from recbole_tme.nn import distributed
from recbole_tme.nn.embedding_diagnostics import item_vectors, singular_values

# Length of the lists that coverage, popularity and Gini index are of.
LIST = 20
# Test instances shown, and how many items of each one's list.
EXAMPLES, SHOWN = 24, 10
# Single sessions scored, and how many of them go unmeasured before.
QUERIES, WARM_UP = 12, 3


def evaluate_test(
    config: SessionConfig,
    data: SessionData,
    model: nn.Module,
    loader: SessionEvalLoader,
    protocol: Protocol,
    observe: Callable[[Tensor, Tensor], None] | None = None,
) -> tuple[Ranks, dict[str, Any]]:
    """Rank the targets of the test set, and describe what the model recommends there.

    In a multi-process run every process calls this with its model, and the main one's description is whole.

    Args:
        config: the run's configuration.
        data: its data set, ``data.train`` as the model was trained on it.
        model: the model, on its device.
        loader: of the test instances.
        protocol: of the run; its fingerprint chooses the examples.
        observe: see :func:`~recbole_tme.evaluation.ranks.rank_all`.

    Returns:
        The ranks, and the content of ``details.json`` as plain data: ``cost`` (peak memory of this process in MB,
        median time of a single session in ms, device, threads), ``beyond_accuracy`` (of the lists of the ``k`` best
        items, see :meth:`TopKStatistics.summary`), ``spectrum`` (singular values of the item table divided by the
        largest, descending; None where the model has no such table) and ``examples`` in external item ids.

    Raises:
        NonFiniteScores: a score is NaN.
    """
    about = loader.dataset.instance_arrays()
    lists = TopKStatistics(popularity_percentiles(data), example_instances(about, protocol.fingerprint))

    def look(scores: Tensor, index: Tensor) -> None:
        lists(scores, index)
        if observe is not None:
            observe(scores, index)

    ranks = rank_all(model, loader, config["device"], config["show_progress"], observe=look)
    vectors = item_vectors(model, len(data.tokens))
    details = {
        "cost": {
            "peak_memory_mb": peak_memory(config["device"]),
            "query_ms": query_time(model, loader, config["device"], lists.wanted) if distributed.is_main() else None,
            "device": str(config["device"]),
            "threads": torch.get_num_threads(),
        },
        "beyond_accuracy": lists.summary(ranks.target),
        "spectrum": None if vectors is None else singular_values(vectors.cpu().double()).tolist(),
        "examples": lists.examples(loader, ranks, data.tokens),
    }
    return ranks, details


class TopKStatistics:
    """Counts what the ``k`` best-scored items of each instance are; to be called as ``rank_all``'s ``observe``.

    Args:
        percentile: popularity of each item in [0, 1], float64 ``[N + 1]``; that of padding is not used.
        wanted: positions of the instances whose lists are kept.
    """

    def __init__(self, percentile: np.ndarray, wanted: Sequence[int]):
        self.percentile = percentile
        self.wanted = list(wanted)
        self.k = min(LIST, len(percentile) - 1)
        self.counts = torch.zeros(len(percentile), dtype=torch.long)
        self.kept: dict[int, list[int]] = {}

    def __call__(self, scores: Tensor, index: Tensor) -> None:
        best = best_items(scores, self.k)
        self.counts += torch.bincount(best.flatten(), minlength=len(self.counts))
        for row in np.flatnonzero(np.isin(index.numpy(), self.wanted)):
            self.kept[int(index[row])] = best[row, :SHOWN].tolist()

    def summary(self, target: np.ndarray) -> dict[str, float]:
        """Figures of all lists of all processes, as plain data.

        Args:
            target: item id of each instance's target, ``[n]``.

        Returns:
            ``k``; ``coverage``, the share of the catalogue that is in at least one list; ``popularity``, the mean over
            lists of their items' mean popularity percentile (0 = the least, 1 = the most clicked item of the training
            sessions), and ``target_popularity``, the targets'; ``gini``, the Gini index of how often each item is
            recommended (0 = all alike, towards 1 = few items only).
        """
        counts = distributed.total(self.counts).numpy()
        return {
            "k": self.k,
            "coverage": float((counts[1:] > 0).mean()),
            "popularity": float(counts @ self.percentile / counts.sum()),
            "target_popularity": float(self.percentile[target].mean()),
            "gini": gini(counts[1:]),
        }

    def examples(self, loader: SessionEvalLoader, ranks: Ranks, tokens: np.ndarray) -> list[dict[str, Any]]:
        """The wanted instances with their sessions (as the model saw them), targets, ranks and best items."""
        kept = {index: items for part in distributed.gather(self.kept) for index, items in part.items()}
        rows, names = loader.dataset[torch.tensor(self.wanted)], loader.dataset.inter_feat.names
        sessions = zip(rows[names.item_list].tolist(), rows[names.length].tolist())
        return [
            {
                "instance": index,
                "session": [str(tokens[item]) for item in clicks[:length]],
                "target": str(tokens[ranks.target[index]]),
                "rank": float(ranks.rank[index]),
                "recommended": [str(tokens[item]) for item in kept[index]],
            }
            for index, (clicks, length) in zip(self.wanted, sessions)
        ]


def popularity_percentiles(data: SessionData) -> np.ndarray:
    """Where each item stands by its clicks in the training sessions, from 0 (fewest) to 1 (most), ties at their mean.

    Returns:
        Float64 ``[N + 1]``; 0 for padding.
    """
    clicks = np.bincount(data.train.items, minlength=len(data.tokens))[1:]
    return np.append(0.0, (rankdata(clicks) - 1) / max(1, len(clicks) - 1))


def example_instances(about: Mapping[str, np.ndarray], fingerprint: str) -> list[int]:
    """Test instances to show, half of them with a repeated target where there are so many, each of another session.

    Args:
        about: the instances' arrays by name, see ``SessionDataset.instance_arrays``.
        fingerprint: the protocol's, in hexadecimal digits; it alone decides which of the instances are taken.

    Returns:
        Positions, ascending.
    """
    order = np.random.default_rng(int(fingerprint, 16)).permutation(len(about["session"]))
    # The first of each session in that order, in that order.
    order = order[np.sort(np.unique(about["session"][order], return_index=True)[1])]
    repeated = about["is_repeat"][order]
    old, new = order[repeated], order[~repeated]
    n_old = min(len(old), max(EXAMPLES // 2, EXAMPLES - len(new)))
    return sorted([*old[:n_old].tolist(), *new[: EXAMPLES - n_old].tolist()])


@torch.no_grad()
def query_time(model: nn.Module, loader: SessionEvalLoader, device: torch.device, instances: Sequence[int]) -> float:
    """Median time of scoring one session against the catalogue, in milliseconds.

    Args:
        model: the model, on its device.
        loader: of the test instances.
        device: where the model is.
        instances: positions of the sessions; taken again from the start where there are too few.
    """
    score = scorer(model, loader.dataset, device)
    was_training = model.training
    model.eval()
    times = []
    for i in range(WARM_UP + QUERIES):
        row = loader.dataset[torch.tensor([instances[i % len(instances)]])]
        session = loader.transform(loader.dataset, row).to(device)
        _wait_for(device)
        started = time.perf_counter()
        score(session)
        _wait_for(device)
        times.append(1000 * (time.perf_counter() - started))
    model.train(was_training)
    return round(statistics.median(times[WARM_UP:]), 3)


def peak_memory(device: torch.device) -> float | None:
    """The most memory that this process has held so far, in MB (2^20 bytes): the GPU's where it computes on one.

    None where the system does not say.
    """
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    status = Path("/proc/self/status")
    if status.is_file():
        # The kernel's ru_maxrss also counts what the process held before it became this program: a copy of its parent.
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 2**10, 1)
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 2**10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
