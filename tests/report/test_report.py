"""``recbole-tme report``: what it says of finished runs agrees with other ways to compute it."""

import csv
import json
import math
import shutil
import statistics
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from helpers.report_runs import CLICKS, make_run, some_ranks
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_tme.cli import main
from recbole_tme.errors import UserError
from recbole_tme.evaluation.ranks import Ranks
from recbole_tme.report.comparison import ranking, write_report
from recbole_tme.report.slices import popularity_classes

FILES = ("comparison.csv", "comparison.md", "comparison.tex", "report.html")


@pytest.fixture
def runs(tmp_path) -> Path:
    """Good on two seeds, its twin, Bad and a Plain that lacks what older runs lack."""
    folder = tmp_path / "runs"
    for seed in (1, 2):
        make_run(folder, "Good", some_ranks(6.0, seed), seed)
        make_run(folder, "Twin", some_ranks(6.0, seed), seed)
    make_run(folder, "Bad", some_ranks(18.0, 3))
    make_run(folder, "Plain", some_ranks(9.0, 4), epochs=1, with_details=False)
    return folder


def report(folder: Path, out: Path, **options) -> list[dict[str, str]]:
    """The lines of ``comparison.csv``."""
    print(ranking(write_report([folder], out, **options)))
    return list(csv.DictReader((out / "comparison.csv").read_text().splitlines()))


def line(rows: list[dict], **wanted) -> dict[str, str]:
    (found,) = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return found


def by_session(values: np.ndarray, session: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.bincount(session, weights=values), np.bincount(session).astype(float)


def test_figures_are_those_of_scipy_on_the_raw_ranks(runs, tmp_path):
    rows = report(runs, tmp_path / "out", reference="Bad")
    good, bad = some_ranks(6.0, 1), some_ranks(18.0, 3)
    own = np.mean([some_ranks(6.0, seed).rank <= 20 for seed in (1, 2)], axis=0)
    row = line(rows, model="Good", slice="all", metric="hit@20")
    per_seed = [float((some_ranks(6.0, seed).rank <= 20).mean()) for seed in (1, 2)]
    assert float(row["value"]) == pytest.approx(statistics.fmean(per_seed))
    assert float(row["seed_spread"]) == pytest.approx(statistics.stdev(per_seed))
    assert (row["over"], row["difference_over"]) == ("seeds and sessions", "sessions, these two trained runs")
    single = line(rows, model="Bad", slice="all", metric="hit@20")
    assert single["over"] == "sessions, this trained run"
    assert float(row["low"]) < float(row["value"]) < float(row["high"])
    for values, interval_of, names in (
        (bad.rank <= 20, single, ("low", "high")),
        (own - (bad.rank <= 20), row, ("difference_low", "difference_high")),
    ):
        sums, counts = by_session(values, good.session)
        interval = scipy.stats.bootstrap(
            (sums, counts),
            lambda s, c, axis: s.sum(axis) / c.sum(axis),
            paired=True,
            method="percentile",
            rng=np.random.default_rng(1),
        ).confidence_interval
        width = interval.high - interval.low
        assert float(interval_of[names[0]]) == pytest.approx(interval.low, abs=0.1 * width)
        assert float(interval_of[names[1]]) == pytest.approx(interval.high, abs=0.1 * width)
    sums, counts = by_session(own - (bad.rank <= 20), good.session)
    assert float(row["difference"]) == pytest.approx(sums.sum() / counts.sum())
    assert row["p"] == row["p_holm"] == ""
    assert scipy.stats.wilcoxon(sums / counts).pvalue < 0.01


def test_a_twin_of_the_reference_is_not_told_from_it_and_a_worse_model_is(runs, tmp_path):
    for seed in (1, 2, 3):
        make_run(runs, "Worse", some_ranks(40.0, seed), seed)
    rows = report(runs, tmp_path / "out", reference="Good")
    for metric in ("hit@20", "mrr@20"):
        twin = line(rows, model="Twin", slice="all", metric=metric)
        assert float(twin["p"]) > 0.05 and float(twin["effect"]) == 0.0 == float(twin["difference"])
        assert float(twin["difference_low"]) <= 0 <= float(twin["difference_high"])
        worse = line(rows, model="Worse", slice="all", metric=metric)
        assert float(worse["p_holm"]) < 0.05 and float(worse["difference_high"]) < 0
        single = line(rows, model="Bad", slice="all", metric=metric)
        assert single["p"] == "" and float(single["difference_high"]) < 0


def test_p_values_are_adjusted_over_all_of_them(runs, tmp_path):
    for seed in (1, 2, 3):
        make_run(runs, "Worse", some_ranks(14.0, seed), seed)
    rows = [row for row in report(runs, tmp_path / "out") if row["p"]]
    # Two metrics of Good or Twin, whichever is not the reference, and of Worse; none of the two with one seed.
    assert len(rows) == 4
    ordered = sorted(rows, key=lambda row: float(row["p"]))
    highest = 0.0
    for i, row in enumerate(ordered):
        highest = max(highest, min(1.0, float(row["p"]) * (len(rows) - i)))
        assert float(row["p_holm"]) == pytest.approx(highest)


def test_an_effect_is_cohens_d_where_sessions_have_one_instance(tmp_path):
    first, second = (some_ranks(strength, 5).select(some_ranks(1.0, 5).is_last_click) for strength in (5.0, 9.0))
    make_run(tmp_path / "runs", "A", first)
    make_run(tmp_path / "runs", "B", second)
    row = line(report(tmp_path / "runs", tmp_path / "out", reference="B"), model="A", slice="all", metric="mrr@20")
    gain = np.where(first.rank <= 20, 1 / first.rank, 0) - np.where(second.rank <= 20, 1 / second.rank, 0)
    assert float(row["effect"]) == pytest.approx(gain.mean() / gain.std(ddof=1))
    assert float(row["equal_sessions"]) == pytest.approx((np.abs(gain) < 1e-12).mean())


def test_slices_are_those_of_a_loop(runs, tmp_path):
    rows = report(runs, tmp_path / "out")
    ranks = some_ranks(18.0, 3)
    expected: dict[tuple[str, str], list[float]] = {}
    for i in range(len(ranks)):
        n, clicks = ranks.length[i], CLICKS[ranks.target[i] - 1]
        value = 1 / ranks.rank[i] if ranks.rank[i] <= 20 else 0.0
        kinds = ["repeated" if ranks.is_repeat[i] else "new"]
        kinds += ["last of its session"] * bool(ranks.is_last_click[i])
        length = str(n) if n <= 2 else "3–5" if n <= 5 else "6–10" if n <= 10 else ">10"
        popularity = {0: "0, unseen", 1: "1–5", 5: "1–5", 40: "40"}[clicks]
        for key in (("length", length), ("popularity", popularity), *(("target", kind) for kind in kinds)):
            expected.setdefault(key, []).append(value)
    found = {(r["slice"], r["part"]): r for r in rows if r["model"] == "Bad" and r["metric"] == "mrr@20" and r["part"]}
    assert set(found) == set(expected)
    for key, values in expected.items():
        assert float(found[key]["value"]) == pytest.approx(statistics.fmean(values)), key
        assert int(found[key]["instances"]) == len(values)
        assert float(found[key]["low"]) <= float(found[key]["value"]) <= float(found[key]["high"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 200), min_size=1, max_size=60))
def test_popularity_classes_rise_with_clicks(clicks):
    clicks = np.array(clicks)
    group = popularity_classes(clicks)
    assert ((group == 0) == (clicks == 0)).all() and group.max() <= 5
    order = np.argsort(clicks, kind="stable")
    assert (np.diff(group[order]) >= 0).all()
    for a in range(len(clicks)):
        assert len(set(group[clicks == clicks[a]])) == 1


def test_popularity_classes_of_many_items_hold_a_fifth_of_the_clicks_each():
    clicks = np.random.default_rng(0).permutation(np.arange(1, 2001))
    shares = [clicks[popularity_classes(clicks) == group].sum() / clicks.sum() for group in range(1, 6)]
    assert shares == pytest.approx([0.2] * 5, abs=0.002)


def test_few_sessions_have_no_interval(tmp_path):
    make_run(tmp_path / "runs", "A", some_ranks(5.0, 1, n_sessions=6))
    rows = [row for row in report(tmp_path / "runs", tmp_path / "out") if row["part"]]
    assert rows and all(row["low"] == "" == row["high"] and row["value"] for row in rows)


def test_epochs_without_a_finite_figure_are_left_out_of_the_curves(runs, tmp_path):
    rows = ["phase,epoch,loss_recommendation,valid_mrr@20", "select,0,nan,0.1", "select,1,4.5,inf", "select,2,4.25,0.2"]
    break_file(runs, "history.csv", "\n".join(rows) + "\n")
    report(runs, tmp_path / "out")
    text = (tmp_path / "out" / "report.html").read_text()
    assert "4.250" in text and "20.000" in text and "nan" not in text and "inf," not in text


def test_costs_and_descriptions_are_kept_and_gaps_are_shown_as_such(runs, tmp_path):
    rows = report(runs, tmp_path / "out")
    wanted = {"parameters": 12345, "epoch_seconds": 1.5, "query_ms": 1.5, "peak_memory_mb": 512.25, "coverage": 0.5}
    for metric, value in wanted.items():
        assert float(line(rows, model="Good", metric=metric)["value"]) == value
    assert line(rows, model="Plain", metric="query_ms")["value"] == ""
    text = (tmp_path / "out" / "comparison.md").read_text()
    # No run was tuned: that column is left out.
    assert "| Plain | 12,345 | 1.5 | - | - | - |" in text
    assert "| Good | 12,345 | 1.5 | 1.50 | 512 | cpu, 1 thread |" in text


def test_models_are_ranked_and_the_best_is_the_reference(runs, tmp_path, capsys):
    rows = report(runs, tmp_path / "out")
    ranked = [row for row in rows if row["slice"] == "all" and row["metric"] == "mrr@20"]
    values = [float(row["value"]) for row in ranked]
    assert values == sorted(values, reverse=True) and ranked[-1]["model"] == "Bad"
    assert {row["reference"] for row in ranked[1:]} == {ranked[0]["model"]} and not ranked[0]["reference"]
    assert "P@20" in (printed := capsys.readouterr().out) and f"(protocol {ranked[0]['protocol']})" in printed


def test_the_plan_is_told(runs, tmp_path):
    plan = {
        "command": "recbole-tme compare --models=Good,Bad",
        "tuning": {"Good": {"model": "Good", "budget": "20 trials", "trials": 18, "seconds": 3600.0}},
    }
    make_run(runs, "SPop", some_ranks(18.0, 3))
    rows = report(runs, tmp_path / "out", plan=plan)
    text, page = ((tmp_path / "out" / name).read_text() for name in ("comparison.md", "report.html"))
    assert "20 trials; used 18 trials, 3,600 s" in text and "20 trials; used 18 trials" in page
    assert (
        "| SPop | 1* |" in text
        and "| Bad | 1 |" in text
        and "| Good | 2 |" in text
        and "recbole-tme compare --models=Good,Bad" in page
    )
    assert float(line(rows, model="Good", metric="tuning_trials")["value"]) == 18


def test_failed_runs_have_rows_with_their_reason(runs, tmp_path, capsys):
    failures = [
        {"model": "Bad", "seed": 2, "reason": "loss is NaN | at epoch 3", "log": "bad.txt"},
        {"model": "Gone", "seed": 1, "reason": "out of <memory>", "log": "gone.txt"},
    ]
    rows = report(runs, tmp_path / "out", failures=failures)
    assert line(rows, model="Gone", metric="failed")["note"] == "seed 1: out of <memory>"
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert "| Bad | 1 (1 failed) |" in text and "| Gone | 1 failed |" in text
    assert "| Bad | 2 | loss is NaN \\| at epoch 3 | bad.txt |" in text
    assert "out of &lt;memory&gt;" in (tmp_path / "out" / "report.html").read_text()
    assert "failed: Gone, seed 1: out of <memory> (gone.txt)" in capsys.readouterr().out


def test_runs_of_one_data_set_share_their_protocol(runs, tmp_path):
    make_run(runs, "Other", some_ranks(5.0, 1), protocol={"select_on": "test"})
    with pytest.raises(UserError, match=r"cannot be compared with .* differ in select_on; name runs of one protocol"):
        report(runs, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_each_data_set_has_a_section(runs, tmp_path):
    make_run(runs, "Good", some_ranks(5.0, 1, n_sessions=20), dataset="market")
    rows = report(runs, tmp_path / "out")
    assert {(row["dataset"], row["model"]) for row in rows} >= {("market", "Good"), ("shop", "Good"), ("shop", "Bad")}
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert text.index("**market**") < text.index("**shop**")
    assert 'href="#d2">shop' in (tmp_path / "out" / "report.html").read_text()


def test_the_same_runs_give_the_same_bytes(runs, tmp_path):
    directories = sorted(file.parent for file in runs.rglob("metrics.json"))
    write_report(directories, tmp_path / "a")
    write_report(directories[::-1], tmp_path / "b")
    shutil.copytree(runs, tmp_path / "moved")
    write_report([tmp_path / "moved"], tmp_path / "c")
    for name in FILES:
        first = (tmp_path / "a" / name).read_bytes()
        assert first == (tmp_path / "b" / name).read_bytes() == (tmp_path / "c" / name).read_bytes(), name


def break_file(runs: Path, name: str, content: str) -> Path:
    file = next((runs / "shop" / "Bad").rglob(name))
    file.write_text(content)
    return file


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("details.json", "[1", "is not the details.json of a run"),
        ("details.json", "[]", "is not the details.json of a run"),
        ("history.csv", "phase,epoch\nselect,one\n", "should hold figures"),
        ("catalogue.json", "{}", "not a readable item list"),
        ("catalogue.json", '{"items": ["a"], "clicks": [1], "titles": {}}', "has 1 items"),
        ("ranks.npz", "", "not a readable ranks file"),
    ],
)
def test_damaged_runs_are_named(runs, tmp_path, name, content, said, capsys):
    file = break_file(runs, name, content)
    assert main(["report", str(runs), f"--out={tmp_path / 'out'}"]) == 2
    (error,) = [text for text in capsys.readouterr().err.splitlines() if text]
    assert error.startswith("error: ") and str(file) in error and said in error
    assert not (tmp_path / "out").exists()


def test_other_bad_input_is_one_line(runs, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for options, said in (
        ([str(runs), "--reference=Godo"], "did you mean Good?"),
        ([str(runs), f"--out={tmp_path / 'file'}"], f"cannot write {tmp_path / 'file'}"),
        ([str(tmp_path / "nothing")], "does not exist"),
    ):
        capsys.readouterr()
        assert main(["report", f"--out={tmp_path / 'out'}", *options]) == 2
        (error,) = [text for text in capsys.readouterr().err.splitlines() if text]
        assert error.startswith("error: ") and said in error
    with pytest.raises(UserError, match="no finished run"):
        write_report([], tmp_path / "out")


def test_the_program_reports_on_real_runs(tmp_path, monkeypatch, capsys):
    common = ["--dataset=toy", "--device=cpu", f"--run_dir={tmp_path / 'runs'}", "--show_progress=False"]
    for model in ("SPop", "OwnItems"):
        assert main([f"--model={model}", *common]) == 0
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert main(["report", "runs", "--reference=SPop", "--title=Two & more"]) == 0
    assert "OwnItems" in (printed := capsys.readouterr().out) and "Holm p" in printed
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == sorted(FILES)
    assert "<h1>Two &amp; more</h1>" in (tmp_path / "report" / "report.html").read_text()
    rows = list(csv.DictReader((tmp_path / "report" / "comparison.csv").read_text().splitlines()))
    for file in (tmp_path / "runs").rglob("metrics.json"):
        result = json.loads(file.read_text())
        row = line(rows, model=result["model"], slice="all", metric="mrr@20")
        assert float(row["value"]) == pytest.approx(result["test"]["mrr@20"])
        popular = [r for r in rows if r["slice"] == "popularity" and r["model"] == result["model"]]
        counted = sum(int(r["instances"]) for r in popular if r["metric"] == "mrr@20")
        assert counted == len(Ranks.load(file.with_name("ranks.npz"))) and not math.isnan(float(row["low"]))


def test_the_page_names_no_folder_of_the_machine(tmp_path):
    run = make_run(tmp_path / "runs", "Good", some_ranks(6.0, 1))
    command = "run_recbole_tme.py --model=Good --run_dir=/home/me/secret --data_path /mnt/secret --epochs=3"
    (run / "environment.json").write_text(json.dumps({"command": command}))
    report(tmp_path / "runs", tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "run_recbole_tme.py --model=Good --epochs=3" in page and "secret" not in page
