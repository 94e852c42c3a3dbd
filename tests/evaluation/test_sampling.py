"""A sample of the validation instances during training: which ones, how sure it is, and that the test set is whole."""

import csv

import numpy as np
import pytest

from recbole_tme.cli import main
from recbole_tme.config.load import load_config
from recbole_tme.config.result_settings import settings_hash
from recbole_tme.data.dataset import SessionDataset
from recbole_tme.data.loader import build_loaders
from recbole_tme.data.split import validation_cut
from recbole_tme.data.synthetic import toy
from recbole_tme.errors import UserError
from recbole_tme.evaluation.ranks import Ranks, rank_all
from recbole_tme.evaluation.sampling import half_width, sampled
from recbole_tme.experiment.run import run

QUICK = {"show_progress": False, "embedding_size": 8, "device": "cpu", "threads": 1, "epochs": 2}


@pytest.fixture(autouse=True)
def in_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def loader():
    config = load_config("SRGNN", "toy", config_dict=QUICK)
    return config, build_loaders(config, SessionDataset(config, validation_cut(toy(), 0.1)).build())[2]


def test_a_sample_is_ranked_as_its_instances_are_in_the_whole():
    config, whole = loader()
    part = sampled(whole, 50)
    model = config.model_class(config, whole.dataset)
    all_, some = (rank_all(model, one, config["device"]) for one in (whole, part))
    rows = part.dataset.inter_feat.target.numpy()
    places = np.searchsorted(whole.dataset.inter_feat.session.numpy() * 10**6 - whole.dataset.inter_feat.target.numpy(),
                             part.dataset.inter_feat.session.numpy() * 10**6 - rows)  # fmt: skip
    assert len(np.unique(places)) == 50
    assert np.array_equal(all_.better[places], some.better) and np.array_equal(all_.target[places], some.target)
    # The same ones each time, and the loader as it was.
    assert np.array_equal(sampled(whole, 50).dataset.inter_feat.target.numpy(), rows)
    assert len(whole.dataset) == 389 and sampled(whole, 389) is whole and sampled(whole, None) is whole


def ranks_of(better: np.ndarray, session: np.ndarray) -> Ranks:
    nothing = np.zeros(len(better), dtype=np.int32)
    return Ranks(better, nothing, nothing, session, nothing, nothing > 0, nothing > 0)


def test_the_interval_holds_the_whole_as_often_as_it_says():
    rng = np.random.default_rng(0)
    session = np.repeat(np.arange(800), 5)
    # Good sessions and bad ones, so that instances of one are alike.
    better = rng.integers(0, np.repeat(rng.integers(1, 60, 800), 5)).astype(np.int32)
    mean = float((better < 20).mean())
    held = 0
    for _ in range(400):
        rows = np.sort(rng.choice(4000, 1000, replace=False))
        part = ranks_of(better[rows], session[rows])
        width = half_width(part, "hit@20", 4000)
        held += abs(float((part.better < 20).mean()) - mean) <= width
    assert 0.92 < held / 400 < 0.98
    assert half_width(ranks_of(better, session), "hit@20", 4000) == 0
    # Copies of an instance tell nothing new.
    once = ranks_of(better[::5], session[::5])
    copies = ranks_of(np.repeat(once.better, 4), np.repeat(once.session, 4))
    assert half_width(copies, "hit@20", 10**9) == pytest.approx(half_width(once, "hit@20", 10**9), rel=1e-5)


def test_a_run_selects_on_the_sample_and_tests_on_everything(capsys):
    found = run(load_config("SRGNN", "toy", config_dict=QUICK | {"eval_sample": 40}))
    metrics = found.read_metrics()
    assert metrics["valid_sample"]["instances"] == 40 < metrics["valid_sample"]["of"]
    assert 0 < metrics["valid_sample"]["half_width"] < 0.3 and "half_width" not in metrics["valid"]
    assert metrics["slices"]["all"]["instances"] == metrics["protocol"]["test_instances"] == 389
    with found.history_file.open() as file:
        rows = list(csv.DictReader(file))
    assert all(float(row["valid_half_width"]) > 0 for row in rows)
    assert "validation on 40 of " in found.log_file.read_text()
    whole = run(load_config("SRGNN", "toy", config_dict=QUICK)).read_metrics()
    assert "valid_sample" not in whole and whole["valid"].keys() == metrics["valid"].keys()
    assert abs(whole["valid"]["mrr@20"] - metrics["valid"]["mrr@20"]) < 3 * metrics["valid_sample"]["half_width"] + 0.05


def test_the_test_set_is_never_sampled(capsys):
    assert main(["--dataset=toy", "--select_on=test", "--eval_sample=9"]) == 2
    assert "the test set is always ranked whole" in capsys.readouterr().err
    with pytest.raises(UserError, match="eval_sample"):
        load_config("SRGNN", "toy", config_dict={"eval_sample": 0})


def test_runs_from_before_the_setting_keep_their_name():
    settings = load_config("SRGNN", "toy").plain()
    older = {key: value for key, value in settings.items() if key != "eval_sample"}
    assert settings_hash(settings) == settings_hash(older) != settings_hash(settings | {"eval_sample": 5})
