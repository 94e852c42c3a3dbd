"""Models two by two: who is not told from the best, and on how many sessions one beats another."""

import math

import numpy as np
import pytest
from helpers.report_runs import make_run, some_ranks

from recbole_tme.report.charts import Point, pareto
from recbole_tme.report.comparison import write_report
from recbole_tme.report.examples import Answer, Example, in_order, kind
from recbole_tme.report.figures import leading
from recbole_tme.report.made import settings_told
from recbole_tme.report.sheets import wide


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("rivals")


@pytest.fixture(scope="module")
def section(folder):
    """Good and its twin, Worse (three seeds each), Single with one seed, and SPop."""
    for seed in (1, 2, 3):
        make_run(folder, "Good", some_ranks(6.0, seed), seed)
        make_run(folder, "Twin", some_ranks(6.0, seed), seed)
        make_run(folder, "Worse", some_ranks(40.0, seed), seed)
    make_run(folder, "Single", some_ranks(6.5, 9))
    make_run(folder, "SPop", some_ranks(18.0, 5))
    (section,) = write_report([folder], folder / "out")
    return section


def test_the_best_and_what_is_not_told_from_it(section):
    for metric, found in section.leaders.items():
        values = {model.name: model.estimates[metric].value for model in section.models}
        assert values[found.best] == max(values.values())
        assert {found.best, *found.same} == {"Good", "Twin"} or found.best == "Single"
        if found.best != "Single":
            # A single seed says nothing of the model, so that it is neither told from the best nor as good.
            assert found.untested == ["Single"] and found.told == 2


def test_the_page_marks_them_in_the_ranking(section, folder):
    text = (folder / "out" / "report.html").read_text()
    table = text[text.index('data-title="Ranking"') : text.index("</table>")]
    assert table.count('class="best"') == len(section.leaders)
    assert table.count('class="same"') == sum(len(found.same) for found in section.leaders.values())
    assert "ot tested (too few seeds): Single" in text


def test_pairs_agree_with_a_loop_over_sessions(section):
    ranks = {"Worse": [some_ranks(40.0, seed) for seed in (1, 2, 3)], "SPop": [some_ranks(18.0, 5)]}
    means = {
        name: [
            np.mean([np.mean((run.rank <= 20)[run.session == session]) for run in runs])
            for session in np.unique(runs[0].session)
        ]
        for name, runs in ranks.items()
    }
    (pair,) = [p for p in section.pairs if {p.line.model, p.line.reference} == set(ranks) and p.line.metric == "hit@20"]
    gain = [a - b for a, b in zip(means[pair.line.model], means[pair.line.reference])]
    assert pair.better == sum(g > 1e-12 for g in gain) and pair.worse == sum(g < -1e-12 for g in gain)
    assert pair.equal == len(gain) - pair.better - pair.worse
    assert pair.bins[-1] == sum(g >= 0.5 for g in gain) and pair.bins[0] == sum(g <= -0.5 for g in gain)
    assert len(section.pairs) == 2 * 10
    assert all(math.isnan(p.line.p) == ("Single" in (p.line.model, p.line.reference)) for p in section.pairs)


def test_a_model_without_training_has_no_parameters_and_only_its_own_settings(section, folder):
    text = (folder / "out" / "comparison.md").read_text()
    assert "| SPop | none | 1.5 |" in text and "| Good | 12,345 | 1.5 |" in text
    assert next(model for model in section.models if model.name == "SPop").training_free
    told, shared = settings_told(section)
    # make_run writes a learning rate into every config; SPop does not read it.
    assert "learning_rate" not in told["SPop"] and shared["learning_rate"] == "0.001"


def test_intervals_are_possible_and_two_seeds_are_owned_up_to(section, tmp_path):
    assert wide(section) == ""
    for seed, strength in ((1, 3.0), (2, 90.0)):
        make_run(tmp_path / "runs", "Shaky", some_ranks(strength, seed), seed)
    make_run(tmp_path / "runs", "SPop", some_ranks(18.0, 5))
    (shaky,) = write_report([tmp_path / "runs"], tmp_path / "out")
    line = next(model for model in shaky.models if model.name == "Shaky").estimates["mrr@20"]
    assert line.low < 0, "two seeds so far apart say next to nothing"
    said = wide(shaky)
    assert "Shaky" in said and "two seeds" in said and "cut off" in said
    text = (tmp_path / "out" / "report.html").read_text()
    assert said in text and "(0.00 .. 100.00)" in (tmp_path / "out" / "comparison.md").read_text()
    assert "<small>-" not in text and "<small>−" not in text.split("Differences to")[0]


def test_examples_are_won_then_disagreed_then_missed():
    def example(instance, *ranks):
        return Example(instance, [], "x", [Answer(f"M{i}", rank, []) for i, rank in enumerate(ranks)])

    won, disagreed, found, missed = (
        example(1, 3, 40, 50),
        example(2, 30, 2, 50),
        example(3, 1, 2, 3),
        example(4, 21, 99, 99),
    )
    assert [kind(one, "M0") for one in (won, disagreed, found, missed)] == ["won", "disagreed", "found", "missed"]
    ordered = in_order([missed, found, disagreed, won], "M0")
    assert [one.instance for _, one in ordered] == [1, 2, 3, 4]


def test_the_pareto_line_has_what_nothing_beats():
    points = [Point(1, 5, ""), Point(2, 4, ""), Point(3, 9, ""), Point(3, 7, ""), Point(4, 9, ""), Point(1, 3, "")]
    assert pareto(points) == [0, 2]


def test_the_reference_is_among_the_lines_that_are_seen(section):
    assert len(leading(section, section.models)) == len(section.models)
