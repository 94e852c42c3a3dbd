"""The models without training in RecBole's and our own training, their data from its rows, and search spaces."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.stock_recbole import SPLITS, make_config, make_data, stock_data, write_presplit
from helpers.training_free import CPU, FIXED, MIXES, MODELS
from recbole.data.interaction import Interaction
from recbole.trainer import Trainer

from recbole_tme.config.declared import model_keys
from recbole_tme.config.load import load_config
from recbole_tme.data.dataset import SessionDataset
from recbole_tme.data.loader import build_loaders
from recbole_tme.data.sessions import PAD_TOKEN
from recbole_tme.data.split import validation_cut
from recbole_tme.data.synthetic import toy
from recbole_tme.evaluation.ranks import rank_all
from recbole_tme.experiment.run import run
from recbole_tme.models import registry
from recbole_tme.models.training_free.clicks import train_clicks
from recbole_tme.schema.property_files import properties_root
from recbole_tme.schema.yamlfile import read_settings

# Through RecBole's and our own training


def by_token(scores: torch.Tensor, ids: dict) -> dict:
    return {token: scores[index].item() for token, index in ids.items() if token != PAD_TOKEN}


@pytest.mark.parametrize("own_ids", [True, False], ids=["session ids", "an id per row"])
@pytest.mark.parametrize("model", MODELS)
def test_recboles_data_set_gives_the_same_model(model, own_ids, tmp_path, monkeypatch):
    data = make_data(seed=8)
    write_presplit(data, tmp_path)
    if not own_ids:
        for split in SPLITS:
            file = tmp_path / "tiny" / f"tiny.{split}.inter"
            header, *rows = file.read_text().splitlines()
            rows = [f"{split}{i}\t{row.split(chr(9), 1)[1]}" for i, row in enumerate(rows)]
            file.write_text("\n".join([header, *rows]) + "\n")
    stock_config = make_config(monkeypatch, tmp_path, model)
    dataset, (train, _, test) = stock_data(stock_config)
    stock = stock_config.model_class(stock_config, train.dataset)
    config = load_config(model, "toy", config_dict=FIXED)
    ours_set = SessionDataset(config, data).build()
    ours = config.model_class(config, ours_set[0])
    stock_rows, our_rows = test.dataset[torch.arange(20)], ours_set[2][torch.arange(20)]
    tokens_of_row = dataset.field2id_token["item_id"][stock_rows["item_id_list"].numpy()]
    assert (
        data.tokens[our_rows["item_id_list"].numpy()] == tokens_of_row[:, : our_rows["item_id_list"].shape[1]]
    ).all()
    our_ids = dict(zip(data.tokens, range(len(data.tokens))))
    stock_ids = dict(zip(dataset.field2id_token["item_id"], range(dataset.item_num)))
    for a, b in zip(stock.full_sort_predict(stock_rows), ours.full_sort_predict(our_rows)):
        assert by_token(a, stock_ids) == {t: v for t, v in by_token(b, our_ids).items() if t in stock_ids}


@pytest.mark.parametrize("model", MODELS)
def test_recboles_trainer_runs_an_empty_epoch(model, tmp_path, monkeypatch):
    write_presplit(make_data(seed=9), tmp_path)
    config = make_config(monkeypatch, tmp_path, model)
    # RecBole writes its logs where it stands.
    monkeypatch.chdir(tmp_path)
    assert config["epochs"] == 1
    _, (train, valid, test) = stock_data(config)
    built = config.model_class(config, train.dataset)
    before = built.full_sort_predict(test.dataset[torch.arange(5)])
    trainer = Trainer(config, built)
    trainer.fit(train, valid, show_progress=False)
    result = trainer.evaluate(test, show_progress=False)
    assert 0 < result["mrr@20"] <= 1
    assert torch.equal(before, built.full_sort_predict(test.dataset[torch.arange(5)]))


def test_our_command_trains_stores_and_loads(tmp_path):
    settings_of_run = {"run_dir": str(tmp_path), "data_path": str(tmp_path / "data"), "show_progress": False}
    config = load_config("SPopSTAN", "toy", config_dict=settings_of_run)
    directory = run(config)
    from safetensors.torch import load_file

    data = validation_cut(toy(), config["valid_ratio"])
    datasets = SessionDataset(config, data).build()
    empty = config.model_class(config, SimpleNamespace(num=datasets[0].num))
    empty.load_state_dict(load_file(directory.model_file))
    ranks = rank_all(empty, build_loaders(config, datasets)[2], CPU)
    stored = np.load(directory.ranks_file)
    assert np.array_equal(stored["better"], ranks.better) and np.array_equal(stored["tied"], ranks.tied)


def rows_of(users, prefixes, targets, times=None) -> Interaction:
    width = max(map(len, prefixes))
    columns = {
        "session_id": torch.tensor(users),
        "item_id_list": torch.tensor([[*prefix, *[0] * (width - len(prefix))] for prefix in prefixes]),
        "item_length": torch.tensor([len(prefix) for prefix in prefixes]),
        "item_id": torch.tensor(targets),
    }
    return Interaction(columns if times is None else columns | {"timestamp": torch.tensor(times)})


ROWS = {
    "longest row of each session, in order of the rows": (
        ([2, 2, 1, 1, 1], [[4], [4, 5], [1], [1, 2], [1, 2, 3]], [5, 6, 2, 3, 4]),
        [[4, 5, 6], [1, 2, 3, 4]],
    ),
    "sessions in order of the target's time": (
        ([2, 2, 1, 1], [[4], [4, 5], [1], [1, 2]], [5, 6, 2, 3], [8.0, 9.0, 1.0, 2.0]),
        [[1, 2, 3], [4, 5, 6]],
    ),
    "an id per row, longest first": (
        ([1, 2, 3, 4, 5], [[1, 2, 3], [1, 2], [1], [1, 2], [7]], [4, 3, 2, 5, 8]),
        [[1, 2, 3, 4], [1, 2, 5], [7, 8]],
    ),
    "an id per row, full rows that differ in the target only": (
        ([1, 2], [[1, 2, 3], [1, 2, 3]], [4, 5]),
        [[1, 2, 3, 4], [1, 2, 3, 5]],
    ),
    "of rows cut to one length the last": (
        ([1, 1, 1, 1], [[1], [1, 2], [2, 3], [3, 4]], [2, 3, 4, 5]),
        [[3, 4, 5]],
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_sessions_from_recboles_rows(name):
    rows, expected = ROWS[name]
    dataset = SimpleNamespace(inter_feat=rows_of(*rows), time_field="timestamp")
    clicks = train_clicks(dataset, "session_id", "item_id", "item_id_list", "item_length")
    found = [clicks.items[a:b].tolist() for a, b in zip(clicks.offsets, clicks.offsets[1:])]
    assert found == expected


# Property files


@pytest.mark.parametrize("path", sorted((properties_root() / "space").glob("*.yaml")), ids=lambda path: path.stem)
def test_search_spaces_name_keys_of_the_model_and_values_they_accept(path):
    if path.stem not in MODELS:
        pytest.skip("the space of a model with gradients")
    keys = model_keys(registry.resolve(path.stem))
    space = read_settings(path).values
    for name, choices in space.items():
        assert next(iter(choices)) == "choice" and len(set(choices["choice"])) > 1
        for value in choices["choice"]:
            assert keys[name].check(value, path.name) == value
        assert keys[name].default in choices["choice"]


def test_every_model_with_something_to_choose_has_a_search_space():
    for model in MODELS:
        tunable = set(model_keys(registry.resolve(model))) - {"epochs", "train_neg_sample_args"}
        path = properties_root() / "space" / f"{model}.yaml"
        searched = set(read_settings(path).values if path.is_file() else ())
        # A mix has every key of its parts; a search over all of them would need a larger budget than anyone's.
        assert searched == tunable or (model in MIXES and tunable > searched >= {"first", "second", "second_weight"})
