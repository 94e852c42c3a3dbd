"""The two-level analysis of variance: against a slow reading, in its limits, and how often it rejects."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from recbole_tme.evaluation.two_level import difference_level, mean_level

ROOT = Path(__file__).parents[2]
NOMINAL = 0.05
# What the project promises of a test at the nominal level.
LOWEST, HIGHEST = 0.03, 0.08


@pytest.fixture(scope="module")
def bench():
    """``benchmarks/seed_tests.py`` as a module."""
    spec = importlib.util.spec_from_file_location("seed_tests", ROOT / "benchmarks" / "seed_tests.py")
    module = importlib.util.module_from_spec(spec)
    # Its data classes look themselves up.
    sys.modules["seed_tests"] = module
    spec.loader.exec_module(module)
    return module


def table(seed: int, m: int, sessions: int, seeds_sd=1.0, scatter=1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (
        rng.normal(0, seeds_sd, (m, 1))
        + rng.normal(0, 1, sessions)
        + rng.normal(0, scatter, (m, sessions))
        + rng.normal(0, 0.1)
    )


def slow_level(first: np.ndarray, second: np.ndarray | None) -> tuple[float, float, float]:
    """Value, squared error and degrees of freedom where every session has one instance, by loops."""
    sides = [first] if second is None else [first, second]
    sessions = first.shape[1]
    seeds, scatter = [], []
    for x in sides:
        m = len(x)
        if m == 1:
            continue
        row, column = x.mean(1), x.mean(0)
        seeds.append((np.var(row, ddof=1), m))
        squares = sum((x[i, j] - row[i] - column[j] + x.mean()) ** 2 for i in range(m) for j in range(sessions))
        scatter.append(squares / ((m - 1) * (sessions - 1)) / m)
    each = first.mean(0) - (0 if second is None else second.mean(0))
    of_sessions = max(0, np.var(each, ddof=1) - sum(scatter)) / sessions
    parts = [(v / m, m - 1) for v, m in seeds]
    if len(seeds) == 2:
        (v1, m1), (v2, m2) = seeds
        if 0.05 <= stats.f.cdf(v1 / v2, m1 - 1, m2 - 1) <= 0.95:
            pooled = ((m1 - 1) * v1 + (m2 - 1) * v2) / (m1 + m2 - 2)
            parts = [(pooled / m1 + pooled / m2, m1 + m2 - 2)]
    parts.append((of_sessions, sessions - 1))
    total = sum(v for v, _ in parts)
    return each.mean(), total, total**2 / sum(v**2 / f for v, f in parts)


@settings(max_examples=60, deadline=None)
@example(9215, 1, 2, 9, 3.0)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(2, 4), st.integers(3, 9), st.sampled_from([0.0, 0.3, 3.0]))
def test_levels_are_those_of_the_definition(seed, m_first, m_second, sessions, sd):
    first, second = table(seed, m_first, sessions, sd), table(seed + 1, m_second, sessions, 1.0)
    for found, expected in (
        (difference_level(first, second, np.ones(sessions)), slow_level(first, second)),
        (mean_level(second, np.ones(sessions)), slow_level(second, None)),
    ):
        assert (found.value, found.error**2, found.freedom) == pytest.approx(expected)
        p = 2 * stats.t.sf(abs(expected[0]) / np.sqrt(expected[1]), expected[2])
        assert found.p == pytest.approx(p)
        # The p value is the level at which the interval begins to hold 0.
        low, high = found.interval(1 - p)
        # The quantile of t is found to some nine digits, fewer with few degrees of freedom.
        assert min(abs(low), abs(high)) == pytest.approx(0, abs=1e-6 * max(1, abs(high - low)))


@pytest.mark.parametrize(("second", "alike"), [([0.2, 0.5, 0.9, 0.1], True), ([0.2, 9.5, -7.0, 4.0], False)])
def test_without_a_variation_of_sessions_it_is_students_test_or_welchs(second, alike):
    """Sessions that all behave alike leave the seeds: differences are a constant per run."""
    first = np.array([1.0, 1.4, 1.1])
    found = difference_level(*(np.repeat(np.array(x)[:, None], 6, axis=1) for x in (first, second)), np.ones(6))
    assert found.p == pytest.approx(stats.ttest_ind(first, second, equal_var=alike).pvalue)
    assert found.seed_share == pytest.approx(1)


def test_without_a_variation_of_seeds_it_is_the_paired_t_test_of_sessions():
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.2, 1, 30), rng.normal(0, 1, 30)
    expected = stats.ttest_rel(first, second).pvalue
    for m in (1, 3):
        found = difference_level(np.tile(first, (m, 1)), np.tile(second, (m, 1)), np.ones(30))
        assert found.p == pytest.approx(expected) and found.seed_share == 0


def test_sessions_of_several_instances_are_a_ratio_of_sums():
    rng = np.random.default_rng(1)
    counts = rng.integers(1, 9, 200).astype(float)
    sums = np.tile(rng.binomial(counts.astype(int), 0.4).astype(float), (2, 1))
    found = mean_level(sums, counts)
    resampled = [sums[0, draw].sum() / counts[draw].sum() for draw in rng.integers(0, 200, (4000, 200))]
    assert found.value == pytest.approx(sums.sum() / counts.sum() / 2)
    assert found.error == pytest.approx(np.std(resampled), rel=0.06)


def test_equal_models_have_no_difference_and_a_mirror_image_is_exact():
    first, second = table(3, 3, 20), table(4, 3, 20)
    assert difference_level(first, first, np.ones(20)).p == 1
    one, other = (difference_level(*pair, np.ones(20)) for pair in ((first, second), (second, first)))
    assert (one.value, one.error, one.p) == pytest.approx((-other.value, other.error, other.p))


def test_a_single_session_says_nothing_of_others():
    assert np.isnan(difference_level(table(1, 3, 1), table(2, 3, 1), np.ones(1)).p)


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("model", ["SRGNN", "TMEGNN"])
def test_seeds_of_one_trained_model_are_told_apart_as_often_as_promised(bench, model, seeds):
    """16 real runs, split at random into two groups."""
    tests = {name: bench.TESTS[name] for name in ("two-level", "sessions only")}
    rates = bench.real_rates(bench.FIXTURE, model, seeds, splits=1000, tests=tests)
    for metric in ("P@20", "MRR@20"):
        # Three standard deviations of a share of 1,000 around what is promised.
        assert LOWEST - 0.016 <= rates["two-level", metric] <= HIGHEST + 0.02
        # What the test replaces: sessions of these runs alone.
        assert rates["sessions only", metric] > (0.5 if model == "SRGNN" else 0.08)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
def test_simulated_rejection_power_and_coverage(bench, seeds):
    for name, case in bench.SCENARIOS.items():
        found = bench.simulated_rates(case, seeds, trials=1000)
        if case.shift:
            assert found["two-level"] > {3: 0.45, 5: 0.8}[seeds], name
        else:
            # Seeds that differ four times as much in one model as in the other are told to be alike now and then.
            highest = 0.11 if "differ more" in name else HIGHEST
            assert LOWEST <= found["two-level"] <= highest, name
            assert found["coverage"] == pytest.approx(1 - found["two-level"], abs=0.02), name
        assert 0.89 <= found["coverage"] <= 0.98 and 0.89 <= found["coverage of a mean"] <= 0.98, name
