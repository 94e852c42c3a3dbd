"""Intervals and paired tests: against loops, against scipy, and on simulated sessions with a known truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap

from recbole_tme.config.load import load_config
from recbole_tme.errors import UserError
from recbole_tme.evaluation import resampling
from recbole_tme.evaluation.metrics import evaluate, slice_masks
from recbole_tme.evaluation.ranks import Ranks
from recbole_tme.evaluation.resampling import effect_sizes, p_values, resampled_means, session_sums
from recbole_tme.evaluation.significance import (
    BOTH,
    SESSIONS,
    THESE_RUNS,
    THIS_RUN,
    compare,
    estimate,
    holm,
    same_instances,
    untested,
)
from recbole_tme.evaluation.summary import distinct_names


def make_ranks(better, session) -> Ranks:
    better, session = np.asarray(better, np.int32), np.asarray(session, np.int32)
    zeros = np.zeros(len(better), np.int32)
    last = np.append(session[1:] != session[:-1], True)
    return Ranks(better, zeros, zeros + 1, session, zeros + 1, zeros > 0, last)


def random_model(seed: int, session, shift: float = 0.0, worst: int = 60) -> Ranks:
    """Ranks that depend on the session (a session is hard or easy for every model) and on the model."""
    rng = np.random.default_rng(seed)
    hard = np.random.default_rng(99).normal(size=session.max() + 1)[session]
    share = 1 / (1 + np.exp(-(hard - shift + rng.normal(size=len(session)))))
    return make_ranks((share * worst).astype(int), session)


SESSION = np.repeat(np.arange(40), np.random.default_rng(5).integers(1, 7, 40))
FAST = {"resamples": 400, "seed": 3}


def loop_bootstrap(values: np.ndarray, session: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Means over the instances of drawn sessions, one session at a time, by the same random numbers."""
    rng = np.random.default_rng(seed)
    names = list(dict.fromkeys(session.tolist()))
    means = []
    for _ in range(resamples):
        drawn = [names[i] for i in rng.integers(0, len(names), len(names))]
        instances = [value for name in drawn for value in values[session == name]]
        means.append(sum(instances) / len(instances))
    return np.array(means)


@pytest.mark.parametrize("draws", [1, 100, 2**18])
def test_resampling_matches_a_loop_whatever_is_drawn_at_once(monkeypatch, draws):
    monkeypatch.setattr(resampling, "DRAWS", draws)
    values = np.random.default_rng(0).random((len(SESSION), 2))
    means = resampled_means(*session_sums(values, SESSION), resamples=30, seed=11)
    for column in (0, 1):
        assert means[:, column] == pytest.approx(loop_bootstrap(values[:, column], SESSION, 30, 11), abs=1e-12)


def test_intervals_agree_with_scipys_bootstrap_of_a_ratio():
    values = np.random.default_rng(0).normal(size=(len(SESSION), 1))
    sums, counts = session_sums(values, SESSION)
    theirs = bootstrap(
        (sums[:, 0], counts),
        lambda s, n, axis: s.sum(axis=axis) / n.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=20_000,
        method="percentile",
        random_state=np.random.default_rng(1),
    )
    ours = resampled_means(sums, counts, 20_000, seed=2)[:, 0]
    assert ours.std(ddof=1) == pytest.approx(theirs.standard_error, rel=0.03)
    bounds = np.quantile(ours, [0.025, 0.975])
    assert bounds == pytest.approx(np.array(theirs.confidence_interval), abs=0.05 * theirs.standard_error + 0.003)


def test_estimates_are_the_metrics_with_intervals_around_them():
    model = random_model(1, SESSION)
    for line in estimate({"A": [model]}, ["P@20", "MRR@10", "NDCG@5"], **FAST):
        name, _, k = line.metric.partition("@")
        assert line.value == pytest.approx(evaluate(model, int(k), name)[line.metric])
        assert line.low < line.value < line.high
        assert (line.model, line.seeds, line.sessions) == ("A", 1, 40) and np.isnan(line.spread)


def test_seeds_are_averaged_by_instance_and_their_spread_is_told():
    runs = [random_model(seed, SESSION) for seed in (1, 2, 3)]
    (line,) = estimate({"A": runs}, ["MRR@20"], **FAST)
    single = [evaluate(run, 20, "MRR")["mrr@20"] for run in runs]
    assert line.value == pytest.approx(np.mean(single)) and line.spread == pytest.approx(np.std(single, ddof=1))
    other = random_model(9, SESSION)
    (pair,) = compare({"A": runs, "B": [other]}, [("A", "B")], ["MRR@20"], **FAST)
    assert pair.difference == pytest.approx(np.mean(single) - evaluate(other, 20, "MRR")["mrr@20"])
    reciprocal = np.mean([np.where(run.rank <= 20, 1 / run.rank, 0) for run in runs], axis=0)
    differences = reciprocal - np.where(other.rank <= 20, 1 / other.rank, 0)
    means = loop_bootstrap(differences, SESSION, FAST["resamples"], FAST["seed"])
    assert (pair.low, pair.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))


KINDS = [
    # Seeds of A and of B, which of them no seed can change, and what varies in the interval of their difference.
    (1, 1, "", THESE_RUNS),
    (3, 1, "", THESE_RUNS),
    (1, 3, "A", BOTH),
    (1, 1, "A", THESE_RUNS),
    (2, 2, "", BOTH),
    (1, 1, "AB", SESSIONS),
    (2, 1, "AB", SESSIONS),
]


@pytest.mark.parametrize(("of_a", "of_b", "fixed", "over"), KINDS)
def test_what_varies_in_an_interval_follows_from_the_seeds_there_are(of_a, of_b, fixed, over):
    models = {
        name: [random_model(i if name not in fixed else 0, SESSION, shift) for i in range(10 * n, 10 * n + n)]
        for name, n, shift in (("A", of_a, 0.0), ("B", of_b, 0.1))
    }
    (line,) = compare(models, [("A", "B")], ["MRR@20"], seed_independent=list(fixed), **FAST)
    assert line.over == over and line.low < line.difference < line.high
    assert np.isnan(line.p) == np.isnan(line.p_holm) == (over == THESE_RUNS) == bool(untested([line]))
    for name, n in (("A", of_a), ("B", of_b)):
        (own,) = estimate({name: models[name]}, ["MRR@20"], seed_independent=list(fixed), **FAST)
        assert own.over == (SESSIONS if name in fixed else BOTH if n > 1 else THIS_RUN)
        assert own.low < own.value < own.high


def test_p_values_over_sessions_are_those_of_the_resamples():
    a, b = random_model(1, SESSION, 0.5), random_model(2, SESSION)
    (line,) = compare({"A": [a], "B": [b]}, [("A", "B")], ["P@20"], seed_independent=["A", "B"], **FAST)
    means = loop_bootstrap((a.rank <= 20) * 1.0 - (b.rank <= 20), SESSION, FAST["resamples"], FAST["seed"])
    fewer = min((means <= 0).sum(), (means >= 0).sum())
    assert line.p == min(1, 2 * (fewer + 1) / (len(means) + 1))


def test_lines_without_a_p_value_do_not_count_in_holms_family():
    models = {"A": [random_model(1, SESSION)], "B": [random_model(s, SESSION, 0.3) for s in (2, 3)], "C": None}
    models["C"] = [random_model(s, SESSION) for s in (4, 5)]
    among = compare(models, [("A", "C"), ("B", "C")], ["MRR@20"], **FAST)
    assert np.isnan(among[0].p_holm) and among[1].p_holm == among[1].p
    assert untested(among).count("single seed") == 1 and not untested(among[1:])


def test_equal_models_differ_by_nothing_with_certainty():
    models = {"A": [random_model(1, SESSION)], "B": [random_model(1, SESSION)]}
    metrics = ["P@20", "MRR@20", "NDCG@20"]
    for line in compare(models, [("A", "B")], metrics, seed_independent=["A", "B"], **FAST):
        assert (line.difference, line.low, line.high, line.effect) == (0, 0, 0, 0)
        assert line.p == line.p_holm == line.equal_sessions == 1


def test_a_better_model_is_told_from_a_worse_one_and_the_mirror_image_is_exact():
    models = {"good": [random_model(1, SESSION, shift=3.0)], "bad": [random_model(2, SESSION)]}
    given = FAST | {"seed_independent": ["good", "bad"]}
    (line,) = compare(models, [("good", "bad")], ["MRR@20"], **given)
    (mirror,) = compare(models, [("bad", "good")], ["MRR@20"], **given)
    assert 0 < line.low < line.difference < line.high and line.effect > 0 and line.p == 2 / 401
    # The quantiles are interpolated between resamples, which rounds.
    assert (mirror.difference, mirror.effect) == pytest.approx((-line.difference, -line.effect))
    assert (mirror.low, mirror.high) == pytest.approx((-line.high, -line.low))
    assert mirror.p == line.p and mirror.equal_sessions == line.equal_sessions


def test_a_pairs_line_does_not_depend_on_its_company_but_for_holm():
    models = {name: [random_model(seed, SESSION)] for seed, name in enumerate("ABC")}
    given = FAST | {"seed_independent": ["A", "B", "C"]}
    (alone,) = compare(models, [("A", "B")], ["P@20"], **given)
    among = compare(models, [("C", "B"), ("A", "B")], ["MRR@20", "P@20"], **given)[3]
    # Sums over more columns are added up in another order.
    assert (among.low, among.high, among.effect) == pytest.approx((alone.low, alone.high, alone.effect))
    assert (among.difference, among.p) == (alone.difference, alone.p) and among.p_holm >= alone.p_holm == alone.p


def test_other_numbers_for_the_sessions_change_nothing():
    number = np.random.default_rng(0).permutation(1000)[SESSION]
    given = FAST | {"seed_independent": ["A", "B"]}
    for before, after in zip(
        compare(
            {name: [random_model(seed, SESSION)] for seed, name in ((1, "A"), (2, "B"))},
            [("A", "B")],
            ["P@20"],
            **given,
        ),
        compare(
            {name: [replace(random_model(seed, SESSION), session=number)] for seed, name in ((1, "A"), (2, "B"))},
            [("A", "B")],
            ["P@20"],
            **given,
        ),
    ):
        assert before == after


def test_the_order_of_sessions_matters_no_more_than_the_seed():
    order = np.argsort(np.random.default_rng(0).permutation(40)[SESSION], kind="stable")
    models = {name: [random_model(seed, SESSION)] for seed, name in ((1, "A"), (2, "B"))}
    moved = {name: [ranks.select(order) for ranks in runs] for name, runs in models.items()}
    (before,), (after,) = (compare(m, [("A", "B")], ["MRR@20"], resamples=20_000) for m in (models, moved))
    assert after.difference == pytest.approx(before.difference) and after.effect == pytest.approx(before.effect)
    width = before.high - before.low
    assert abs(after.low - before.low) < 0.03 * width and abs(after.high - before.high) < 0.03 * width


def test_the_seed_decides_and_another_one_draws_other_sessions():
    models = {name: [random_model(seed, SESSION)] for seed, name in ((1, "A"), (2, "B"))}
    fixed = ["A", "B"]
    lines = [compare(models, [("A", "B")], ["MRR@20"], 200, seed, seed_independent=fixed)[0] for seed in (0, 0, 1)]
    assert lines[0] == lines[1] != lines[2]


def test_intervals_of_resampled_sessions_cover_the_truth_and_those_of_instances_do_not():
    """400 data sets of 40 sessions of 10 instances that are right or wrong together; 95 % promised."""
    rng = np.random.default_rng(0)
    session = np.repeat(np.arange(40), 10)
    covered = {"sessions": 0, "instances": 0}
    for trial in range(400):
        # Two models that are equally good: the difference has mean 0, and a part that the session's instances share.
        difference = rng.normal(size=40)[session] + 0.3 * rng.normal(size=400)
        for unit, group in (("sessions", session), ("instances", np.arange(400))):
            means = resampled_means(*session_sums(difference[:, None], group), resamples=200, seed=trial)[:, 0]
            low, high = np.quantile(means, [0.025, 0.975])
            covered[unit] += low <= 0 <= high
    assert 0.91 <= covered["sessions"] / 400 <= 0.98
    assert covered["instances"] / 400 < 0.6


def test_p_values_of_equally_good_models_are_uniform():
    rng = np.random.default_rng(1)
    p = []
    for trial in range(400):
        sums = rng.normal(size=(50, 1))
        p.append(p_values(resampled_means(sums, np.ones(50), resamples=300, seed=trial))[0])
    for level in (0.05, 0.2, 0.5, 0.8):
        # Three standard deviations of a share of 400, and the bootstrap's known optimism in 50 sessions.
        assert abs(np.mean(np.array(p) <= level) - level) < 3 * np.sqrt(level * (1 - level) / 400) + 0.02


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.floats(-3, 3))
def test_a_p_value_is_the_level_at_which_the_interval_begins_to_hold_zero(seed, shift):
    means = np.random.default_rng(seed).normal(shift, 1, (400, 1))
    p = p_values(means)[0]
    assert 2 / 401 <= p <= 1
    # Quantiles are interpolated, which moves the level by a resample or two on either side.
    for level in (p - 6 / 400, p + 6 / 400):
        if 0 < level < 1:
            low, high = np.quantile(means, [level / 2, 1 - level / 2])
            assert (low <= 0 <= high) == (level < p)


def test_the_effect_is_cohens_d_where_sessions_have_one_instance():
    differences = np.random.default_rng(0).normal(0.3, 1, (50, 1))
    expected = differences.mean() / differences.std(ddof=1)
    assert effect_sizes(differences, np.ones(50))[0] == pytest.approx(expected)


def test_the_effect_scales_to_the_bootstraps_standard_error():
    values = np.random.default_rng(0).normal(0.2, 1, (len(SESSION), 1))
    sums, counts = session_sums(values, SESSION)
    error = resampled_means(sums, counts, 20_000, seed=0).std()
    assert values.mean() / effect_sizes(sums, counts)[0] / np.sqrt(len(counts)) == pytest.approx(error, rel=0.05)


def slow_holm(p: list[float]) -> list[float]:
    """The closed test: a hypothesis' adjusted p is the largest over sets of m' hypotheses of m' times their least."""
    from itertools import combinations

    indices = range(len(p))
    return [
        max(
            min(1.0, len(group) * min(p[j] for j in group))
            for size in range(1, len(p) + 1)
            for group in combinations(indices, size)
            if i in group
        )
        for i in indices
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_holm_is_the_closure_of_bonferroni(p):
    assert holm(np.array(p)).tolist() == pytest.approx(slow_holm(p))


def test_holm_on_the_textbook_example():
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([])).tolist() == []


def test_names_tell_runs_of_one_model_apart_and_no_more():
    settings = [{"a": 1, "b": 2}, {"a": 1, "b": 3, "c": None}, {"a": 5}, {"a": 1.0, "b": 2}]
    assert distinct_names(["M", "M", "N", "M"], settings) == ["M", "M b=3 c=None", "N", "M a=1.0"]


def test_names_do_not_repeat_what_the_loss_says_of_its_negatives():
    negatives = {"distribution": "uniform", "sample_num": 5}
    losses = [{}, {"loss_type": "BPR"}, {"loss_type": "BPR", "train_neg_sample_args": negatives}]
    runs = [load_config("recbole:SASRec", "toy", config_dict=one).plain() for one in losses]
    one, other, five = distinct_names(["SASRec"] * 3, runs)
    assert (one, other) == ("SASRec loss_type=CE", "SASRec")
    assert five.startswith("SASRec train_neg_sample_args={") and "'sample_num': 5" in five


def test_slices_are_compared_by_selecting_instances():
    model = random_model(1, SESSION)
    last = model.select(slice_masks(model)["last_click"])
    (line,) = estimate({"A": [last]}, ["P@20"], **FAST)
    assert line.sessions == len(last) == 40 and line.value == pytest.approx(np.mean(last.rank <= 20))


@pytest.mark.parametrize("field", ["target", "session", "length", "is_repeat", "is_last_click"])
def test_other_instances_are_never_paired(field):
    model = random_model(1, SESSION)
    values = getattr(model, field)
    other = replace(model, **{field: ~values if values.dtype == bool else values + (np.arange(len(values)) == 7)})
    assert same_instances(model, replace(model, better=model.better + 1)) and not same_instances(model, other)
    with pytest.raises(ValueError, match="instances of B differ from those of A"):
        compare({"A": [model], "B": [other]}, [("A", "B")], ["P@20"])


def test_fewer_instances_or_none_are_never_paired():
    model = random_model(1, SESSION)
    with pytest.raises(ValueError, match="differ"):
        compare({"A": [model], "B": [model.select(SESSION > 0)]}, [("A", "B")], ["P@20"])
    with pytest.raises(ValueError, match="no instance"):
        estimate({"A": [model.select(SESSION < 0)]}, ["P@20"])
    with pytest.raises(UserError, match="unknown metric"):
        estimate({"A": [model]}, ["Q@20"])
