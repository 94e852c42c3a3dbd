"""Models with a loss over a part of the catalogue: what they learn, what they touch, what is refused."""

from itertools import product

import pytest
import torch
from helpers.run_results import Stop, only_run, results, stop_after

from recbole_tme.cli import main
from recbole_tme.config.load import load_config
from recbole_tme.config.result_settings import result_settings
from recbole_tme.data.dataset import SessionDataset
from recbole_tme.data.loader import build_loaders
from recbole_tme.data.synthetic import toy
from recbole_tme.evaluation import ranks
from recbole_tme.evaluation.ranks import rank_all
from recbole_tme.evaluation.summary import distinct_names, shared_settings
from recbole_tme.experiment.run import run
from recbole_tme.nn.row_optim import RowAdam
from recbole_tme.report.experiments import is_run_of
from recbole_tme.testing import Workbench, check_model

SMALL = {
    "SRGNN": {"loss_precision": "fp32", "embedding_size": 32},
    "TMEGNN": {
        "loss_precision": "fp32",
        "embedding_size": 32,
        "dropout_prob": 0.0,
        "rank_low": 3,
        "rank_high": 20,
        "negatives": 4,
    },
    "DANSeR": {"loss_precision": "fp32", "embedding_size": 32, "item_dropout": 0.0, "state_dropout": 0.0},
}
LOSSES = {
    "sampled": {"loss_type": "sampled", "n_sampled": 20},
    "scalable": {"loss_type": "scalable", "n_buckets": 16, "bucket_sessions": 32, "bucket_items": 20},
}


@pytest.fixture(autouse=True)
def in_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("model", "loss"), [pair for pair in product(SMALL, LOSSES) if pair != ("DANSeR", "scalable")])
def test_passes_the_common_tests_and_learns_the_toy_data(model, loss):
    check_model(model, SMALL[model] | LOSSES[loss])


@pytest.mark.parametrize("settings", [*LOSSES.values(), {"loss_type": "sampled", "in_batch_negatives": False}])
def test_a_step_moves_the_rows_it_has_seen_and_no_others(settings):
    config = load_config("TMEGNNDP", "toy", config_dict=settings | {"n_sampled": 5, "bucket_items": 3, "n_buckets": 2})
    datasets = SessionDataset(config, toy(n_chains=200, n_sessions=1500)).build()
    loader = build_loaders(config, datasets)[0]
    model = config.model_class(config, datasets[0]).train()
    model.ranked_subset, model.rank_low, model.n_ranked = 12, 0, 11
    optimizer = RowAdam(model.parameters(), lr=0.01, weight_decay=1e-3)
    batch = next(iter(loader))[slice(0, 20)]
    before = model.item_embedding.weight.detach().clone()
    model.calculate_loss(batch).backward()
    optimizer.step()
    moved = (model.item_embedding.weight != before).any(1).nonzero().flatten()
    seen = torch.cat([batch["item_id_list"].flatten(), batch["item_id"]]).unique()[1:]
    assert set(seen.tolist()) <= set(moved.tolist())
    # Besides: drawn or in a bucket, and the mined negatives.
    assert len(moved) <= len(seen) + 6 + 12
    assert not model.item_embedding.weight[0].any()


@pytest.mark.parametrize("settings", [LOSSES["sampled"], LOSSES["scalable"] | {"clip_grad_norm": 0.5}])
def test_a_run_resumes_bit_for_bit(settings):
    def config(where):
        return load_config("TMEGNN", "toy", config_dict=common | settings | {"run_dir": where})

    common = SMALL["TMEGNN"] | {"show_progress": False, "epochs": 3, "dropout_prob": 0.3, "lr_step": 1}
    whole = run(config("whole"))
    with pytest.raises(Stop):
        run(config("parts"), on_epoch=stop_after(2))
    torch.rand(17)
    broken_off = only_run("parts")
    assert main([f"--resume={broken_off.path}"]) == 0
    assert results(broken_off) == results(whole)


def test_clipping_bounds_the_step():
    free, clipped = (
        run(
            load_config(
                "SRGNN",
                "toy",
                config_dict=SMALL["SRGNN"]
                | LOSSES["sampled"]
                | {"show_progress": False, "epochs": 1, "clip_grad_norm": c},
            )
        )
        for c in (None, 1e-9)
    )
    # Adam is blind to the size of gradients until they are near its epsilon.
    assert clipped.read_metrics()["test"]["mrr@20"] != free.read_metrics()["test"]["mrr@20"]


def test_stock_recbole_trains_them_too():
    from recbole.trainer import Trainer

    config = load_config("SRGNN", "toy", config_dict=SMALL["SRGNN"] | LOSSES["sampled"] | {"epochs": 1})
    datasets = SessionDataset(config, toy()).build()
    train = build_loaders(config, datasets)[0]
    trainer = Trainer(config, config.model_class(config, datasets[0]))
    assert isinstance(trainer.optimizer, RowAdam)
    trainer.fit(train, saved=False, verbose=False)
    plain = Trainer(load_config("SRGNN", "toy"), torch.nn.Linear(2, 2))
    assert type(plain.optimizer) is torch.optim.Adam


# The workbench has 40 items, which is 8 times 5; the data set called toy has 80.
CHOSEN = [
    ({"n_sampled": 5}, "sampled"),
    ({"n_sampled": 6}, "full"),
    ({"n_sampled": 5, "learner": "sgd"}, "full"),
    ({"n_sampled": 5, "loss_type": "full"}, "full"),
    ({"n_sampled": 100, "loss_type": "sampled"}, "sampled"),
]


@pytest.mark.parametrize("model", ["SRGNN", "DANSeR", "ATSRec+TMEGNN"])
@pytest.mark.parametrize(("settings", "loss"), CHOSEN)
def test_the_loss_goes_by_the_size_of_the_catalogue(model, settings, loss):
    built = Workbench(model, settings).build()
    assert (built.loss_type, built.item_embedding.sparse) == (loss, loss == "sampled")


def test_an_attack_on_the_full_softmax_has_it():
    assert Workbench("ATSRec+SRGNN", {"n_sampled": 5, "adv_attack": "closed_form"}).build().loss_type == "full"


@pytest.mark.parametrize(("n_sampled", "loss"), [(10, "sampled"), (11, "full")])
def test_the_chosen_loss_is_the_named_one_and_is_told_where_it_is_unusual(n_sampled, loss, capsys):
    def metrics(where, **settings):
        settings |= SMALL["SRGNN"] | {"n_sampled": n_sampled, "epochs": 1, "run_dir": where}
        return run(load_config("SRGNN", "toy", config_dict=settings)).read_metrics()

    chosen, told = metrics("chosen"), capsys.readouterr()
    named = metrics("named", loss_type=loss)
    assert chosen["test"] == named["test"] and chosen["slices"] == named["slices"]
    assert ("loss_type: sampled" in " ".join((told.out + told.err).split())) == (loss == "sampled")


def test_settings_of_another_loss_tell_no_result_from_an_experiment_and_runs_apart():
    settings = {"model": "SRGNN", "dataset": "toy", "loss_type": "full", "n_sampled": 8192, "n_buckets": 48}
    settings["epochs"] = 3
    assert is_run_of({"settings": settings}, settings | {"n_sampled": 5, "n_buckets": 2})
    for loss, key in [("auto", "n_sampled"), ("sampled", "n_sampled"), ("scalable", "n_buckets"), ("full", "epochs")]:
        settings["loss_type"] = loss
        assert not is_run_of({"settings": settings}, settings | {key: 7}), loss
    # Two samples' runs are of two settings, also beside one with the full loss, which has no use for the key.
    three = [{"loss_type": "sampled", "n_sampled": 5}, {"loss_type": "sampled", "n_sampled": 6}, {"loss_type": "full"}]
    kept = [result_settings(load_config("SRGNN", "toy", config_dict=one).plain()) for one in three]
    assert len(set(distinct_names(["SRGNN"] * 3, shared_settings(["SRGNN"] * 3, kept)))) == 3


REFUSED = [
    (["--model=DANSeR", "--loss_type=scalable"], ["loss_type", "auto, full, sampled"]),
    (["--model=SRGNN", "--loss_type=sampled", "--learner=sgd"], ["learner: sgd", "set learner: adam"]),
    (["--model=SRGNN", "--loss_type=CE"], ["loss_type", "auto, full, sampled, scalable"]),
    (["--model=recbole:GRU4Rec", "--loss_type=sampled"], ["loss_type", "CE or BPR"]),
    (["--model=SRGNN", "--loss_type=sampled", "--n_sampled=0"], ["n_sampled", "[1, inf)"]),
    (["--model=TMEGNN", "--mining_subset=1"], ["mining_subset", "[2, inf)"]),
]


@pytest.mark.parametrize(("arguments", "words"), REFUSED, ids=lambda value: " ".join(value))
def test_what_does_not_fit_together_is_refused_in_one_line(arguments, words, capsys):
    assert main([*arguments, "--dataset=toy"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert all(word in line for word in words), line


def test_a_model_with_a_loss_of_its_own_is_trained_with_no_other(tmp_path, capsys):
    plugin = tmp_path / "own_loss.py"
    plugin.write_text(
        "from recbole_tme.models.srgnn import SRGNN\n\n\n"
        "class OwnLoss(SRGNN):\n"
        "    def recommendation_loss(self, encoded, target):\n"
        "        return super().recommendation_loss(encoded, target)\n"
    )
    arguments = [f"--plugin={plugin}", "--model=OwnLoss", "--dataset=toy", "--n_sampled=5", "--epochs=1"]
    assert main([*arguments, "--loss_type=sampled"]) == 2
    assert "OwnLoss" in capsys.readouterr().err.splitlines()[-1]
    # Left to itself, it keeps the loss that it has.
    assert main([*arguments]) == 0
    told = capsys.readouterr()
    assert "loss_type" not in told.out + told.err


def test_mining_in_a_subset_scales_the_window_and_leaves_the_loss_alone():
    exact = Workbench("TMEGNN", SMALL["TMEGNN"])
    subset = Workbench("TMEGNN", SMALL["TMEGNN"] | {"mining_subset": 20})
    model = subset.build()
    # 40 items, half of them ranked: ranks 3..19 of the catalogue are 2..9 of the subset.
    assert (model.rank_low, model.n_ranked, model.ranked_subset) == (2, 10, 20)
    losses = model.losses(subset.batch()), exact.build().losses(exact.batch())
    torch.testing.assert_close(losses[0]["recommendation"], losses[1]["recommendation"])
    encoded = model._encode(subset.batch())
    _, ranked = model.recommendation_loss(encoded, subset.batch()["item_id"])
    assert ranked.shape == (len(subset.sessions), 10) and len(ranked.unique()) <= 20


def test_mining_in_a_subset_of_everything_is_exact():
    exact = Workbench("TMEGNN", SMALL["TMEGNN"])
    whole = Workbench("TMEGNN", SMALL["TMEGNN"] | {"mining_subset": 5000})
    ranked = []
    for bench in (exact, whole):
        model, batch = bench.build(), bench.batch()
        assert (model.rank_low, model.n_ranked) == (3, 20)
        ranked.append(model.recommendation_loss(model._encode(batch), batch["item_id"])[1])
    assert torch.equal(*ranked)


def test_evaluation_asks_for_a_bounded_number_of_scores(monkeypatch):
    config = load_config("SRGNN", "toy", config_dict=SMALL["SRGNN"])
    datasets = SessionDataset(config, toy()).build()
    test = build_loaders(config, datasets)[2]
    model = config.model_class(config, datasets[0])
    at_once = rank_all(model, test, torch.device("cpu"))
    asked = []
    score = model.full_sort_predict
    monkeypatch.setattr(model, "full_sort_predict", lambda batch: asked.append(len(batch)) or score(batch))
    monkeypatch.setattr(ranks, "SCORES_AT_ONCE", 7 * datasets[0].item_num + 3)
    in_parts = rank_all(model, test, torch.device("cpu"))
    assert max(asked) == 7 and sum(asked) == len(at_once)
    assert (in_parts.better == at_once.better).all() and (in_parts.tied == at_once.tied).all()
