"""How often tests between two models reject: on simulated models of known difference, and on seeds of one real model.

    python benchmarks/seed_tests.py --markdown=benchmarks/seed_tests.md

A test at the nominal level .05 should call two groups of seeds of ONE model different in 5 % of cases, and tell
different models apart as often as it can. Compared are the two-level analysis of variance that ``compare``, ``report``
and ``significance`` use, and what was considered instead of it.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from recbole_tme.evaluation.resampling import session_sums
from recbole_tme.evaluation.two_level import difference_level, mean_level
from recbole_tme.utils import tabular
from recbole_tme.utils.files import write_atomically

NOMINAL = 0.05
# Twice the number of items above the target plus those tied with it, at most 255, of 16 seeds each of SRGNN and TMEGNN
# on the test set of yoochoose-100k ("session": the instances' sessions).
FIXTURE = Path(__file__).parents[1] / "tests" / "fixtures" / "seeds_yoochoose-100k.npz"
SESSIONS = 400
HIERARCHICAL_RESAMPLES = 200


@dataclass(frozen=True)
class Scenario:
    """Two simulated models: an instance is a hit where difficulty + seed + noise is above 0 (all normal, variance of
    the difficulty 2, half of it shared by the instances of a session).

    Attributes:
        first_sd, second_sd: standard deviation of the seed's effect in either model; 0.1 moves the hit rate by about
            2 points.
        own: standard deviation of what a session is to one of the models alone.
        shift: by how much the first model is better; its hit rate is 22 points higher for each whole of it.
        second_fixed: whether no seed changes the second model.
    """

    first_sd: float
    second_sd: float
    own: float = 0.0
    shift: float = 0.0
    second_fixed: bool = False


SCENARIOS = {
    "one model, seeds nearly alike": Scenario(0.0, 0.0),
    "one model, seeds differ": Scenario(0.08, 0.08),
    "one model, seeds differ much": Scenario(0.3, 0.3),
    "equally good, seeds of one differ more": Scenario(0.2, 0.05, own=0.5),
    "equally good, on other sessions, seeds alike": Scenario(0.0, 0.0, own=1.0),
    "equally good, on other sessions": Scenario(0.08, 0.08, own=0.5),
    "equally good, one without seeds": Scenario(0.08, 0.0, own=0.5, second_fixed=True),
    "one better by 4.3 points": Scenario(0.08, 0.08, own=0.0, shift=0.2),
}
NOISE, MIDDLE = 0.5, -0.5


def simulate(case: Scenario, m: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hits by seed and session of both models, ``[m, S]`` each, and instances per session ``[S]``."""
    counts = rng.integers(1, 8, SESSIONS)
    session = np.repeat(np.arange(SESSIONS), counts)
    difficulty = MIDDLE + rng.normal(size=SESSIONS)[session] + rng.normal(size=len(session))
    sides = []
    for sd, shift, seeds in ((case.first_sd, case.shift, m), (case.second_sd, 0.0, 1 if case.second_fixed else m)):
        own = case.own * rng.normal(size=SESSIONS)[session]
        latent = difficulty + own + shift + sd * rng.normal(size=(seeds, 1))
        hits = latent + NOISE * rng.normal(size=(seeds, len(session))) > 0
        sides.append(session_sums(hits.T.astype(float), session)[0].T)
    return *sides, counts.astype(float)


def true_rate(case: Scenario, sd: float, shift: float) -> float:
    """The share of hits over all seeds and sessions."""
    return float(stats.norm.cdf((MIDDLE + shift) / np.sqrt(2 + case.own**2 + NOISE**2 + sd**2)))


# The tests: from sums by seed and session of two models, and instances per session, to a p value.


def two_level(first: np.ndarray, second: np.ndarray, counts: np.ndarray) -> float:
    return difference_level(first, second, counts).p


def sessions_only(first: np.ndarray, second: np.ndarray, counts: np.ndarray) -> float:
    """The seeds' mean taken as one fixed model."""
    return difference_level(first.mean(0, keepdims=True), second.mean(0, keepdims=True), counts).p


def seeds_only(first: np.ndarray, second: np.ndarray, counts: np.ndarray) -> float:
    """Welch's test of the seeds' means."""
    means = [side.sum(1) / counts.sum() for side in (first, second)]
    if min(map(len, means)) < 2 or max(np.ptp(mean) for mean in means) == 0:
        return float("nan")
    return float(stats.ttest_ind(*means, equal_var=False).pvalue)


def permutation(first: np.ndarray, second: np.ndarray, counts: np.ndarray) -> float:
    """The exact permutation test of the seeds' means; of 3 v 3 none is below .1."""
    means = [side.sum(1) / counts.sum() for side in (first, second)]
    if min(map(len, means)) < 2:
        return float("nan")
    difference = lambda x, y, axis: x.mean(axis) - y.mean(axis)  # noqa: E731
    return float(stats.permutation_test(means, difference, n_resamples=np.inf, vectorized=True).pvalue)


@functools.lru_cache
def drawn_sessions(n: int) -> np.ndarray:
    """How often each of ``n`` sessions is drawn, ``[resamples, n]``; the same in every call, which is what is fast."""
    return np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), HIERARCHICAL_RESAMPLES).astype(float)


def hierarchical(first: np.ndarray, second: np.ndarray, counts: np.ndarray) -> float:
    """The percentile bootstrap of seeds within each model and of sessions."""
    times = drawn_sessions(len(counts))
    means = times @ np.concatenate([first, second]).T / (times @ counts)[:, None]
    rng = np.random.default_rng(0)
    drawn = []
    for part, seeds in ((means[:, : len(first)], len(first)), (means[:, len(first) :], len(second))):
        choice = rng.integers(0, seeds, (len(means), seeds))
        drawn.append(np.take_along_axis(part, choice, axis=1).mean(1))
    difference = drawn[0] - drawn[1]
    fewer = min((difference <= 0).sum(), (difference >= 0).sum())
    return min(1.0, 2 * (fewer + 1) / (len(difference) + 1))


TESTS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], float]] = {
    "two-level": two_level,
    "sessions only": sessions_only,
    "seeds only (Welch)": seeds_only,
    "hierarchical bootstrap": hierarchical,
}
ALL_TESTS = {**TESTS, "permutation of seeds": permutation}


def simulated_rates(case: Scenario, m: int, trials: int, tests: Mapping = {"two-level": two_level}) -> dict[str, float]:
    """Share of trials in which each test rejects, and in which the two-level intervals hold the truth.

    Returns:
        By test; besides ``coverage`` of the difference, ``coverage of a mean`` (the first model's) and ``width``, half
        the interval's length.
    """
    rejected = dict.fromkeys(tests, 0)
    covered = {"coverage": 0, "coverage of a mean": 0}
    width = 0.0
    mean = true_rate(case, case.first_sd, case.shift)
    difference = mean - true_rate(case, case.second_sd, 0.0)
    for trial in range(trials):
        first, second, counts = simulate(case, m, np.random.default_rng([m, trial]))
        for name, test in tests.items():
            rejected[name] += test(first, second, counts) < NOMINAL
        low, high = difference_level(first, second, counts).interval(1 - NOMINAL)
        covered["coverage"] += low <= difference <= high
        width += (high - low) / 2
        low, high = mean_level(first, counts).interval(1 - NOMINAL)
        covered["coverage of a mean"] += low <= mean <= high
    shares = {name: count / trials for name, count in {**rejected, **covered}.items()}
    return shares | {"width": width / trials}


def real_rates(path: Path, model: str, m: int, splits: int, tests: Mapping = TESTS) -> dict[tuple[str, str], float]:
    """Share of random splits of one model's seeds into two groups of ``m`` in which each test rejects, by metric."""
    with np.load(path) as file:
        session, double = file["session"], file[model]
    rank = 1 + double / 2
    rates = {}
    for metric, values in (("P@20", rank <= 20), ("MRR@20", np.where(rank <= 20, 1 / rank, 0.0))):
        sums, counts = session_sums(values.T.astype(float), session)
        rng = np.random.default_rng(m)
        rejected = dict.fromkeys(tests, 0)
        for _ in range(splits):
            order = rng.permutation(len(double))
            first, second = sums.T[order[:m]], sums.T[order[m : 2 * m]]
            for name, test in tests.items():
                rejected[name] += test(first, second, counts) < NOMINAL
        rates |= {(name, metric): count / splits for name, count in rejected.items()}
    return rates


def simulated_row(of: tuple[int, str], trials: int) -> list[str]:
    """The cells of one scenario with ``m`` seeds a side."""
    m, name = of
    case = SCENARIOS[name]
    found = simulated_rates(case, m, trials, ALL_TESTS)
    cells = [f"{found[test]:.3f}" for test in ALL_TESTS]
    cells += [f"{found['coverage']:.3f}", f"{100 * found['width']:.1f}", f"{found['coverage of a mean']:.3f}"]
    return [name, f"{m} v {1 if case.second_fixed else m}", *cells]


def real_rows(of: tuple[str, int], splits: int) -> list[list[str]]:
    """The cells of one model with ``m`` seeds a side, one row per metric."""
    model, m = of
    found = real_rates(FIXTURE, model, m, splits)
    return [
        [model, f"{m} v {m}", metric, *(f"{found[test, metric]:.3f}" for test in TESTS)]
        for metric in ("P@20", "MRR@20")
    ]


def report(trials: int, splits: int, pool: Executor) -> str:
    """All rates as Markdown."""
    parts = [
        "# How often tests between models reject",
        f"Made by `python benchmarks/seed_tests.py --trials={trials} --splits={splits}`. Shares of cases with p < "
        f"{NOMINAL}; promised for equal models: {NOMINAL}. `two-level` is what this project uses.",
        f"## Simulated models, {SESSIONS} sessions of one to seven instances, {trials} data sets each",
    ]
    cases = [(m, name) for m in (2, 3, 5) for name in SCENARIOS]
    rows = list(pool.map(simulated_row, cases, [trials] * len(cases)))
    head = ["models", "seeds", *ALL_TESTS, "coverage", "± points", "coverage of a mean"]
    parts.append(tabular.markdown(head, rows, 2))
    parts.append(
        "coverage: of the two-level 95 % interval of the difference, ± its half length; coverage of a mean: of the "
        "first model's own interval. A permutation of 3 v 3 seeds has no p value below .1, so that it never rejects; "
        "`one without seeds` leaves tests of the seeds' means nothing to compare (shown as 0)."
    )
    parts.append(f"## One real model against itself: 16 seeds on yoochoose-100k, {splits} random splits")
    cases = [(model, m) for model in ("SRGNN", "TMEGNN") for m in (2, 3, 5, 8)]
    rows = [row for part in pool.map(real_rows, cases, [splits] * len(cases)) for row in part]
    parts.append(tabular.markdown(["model", "seeds", "metric", *TESTS], rows, 3))
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000, help="simulated data sets per line (default: %(default)s)")
    parser.add_argument("--splits", type=int, default=2000, help="random splits of real seeds (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes at once (default: %(default)s)")
    parser.add_argument("--markdown", type=Path, help="write the page to this file")
    args = parser.parse_args()
    start = time.perf_counter()
    with ProcessPoolExecutor(args.workers) as pool:
        page = report(args.trials, args.splits, pool)
    print(page)
    print(f"{time.perf_counter() - start:,.0f} s")
    if args.markdown:
        write_atomically(args.markdown, page.encode())


if __name__ == "__main__":
    main()
