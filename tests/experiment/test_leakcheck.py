"""``recbole-tme leakcheck``: a model that reads its batch is caught, one that does not is not."""

from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_tme.cli import dispatch, main
from recbole_tme.config.load import load_config
from recbole_tme.errors import UserError
from recbole_tme.evaluation.protocol import load_data
from recbole_tme.experiment.leakcheck import check_leaks
from recbole_tme.experiment.leakprobes import TOLERANCE, largest_moves
from recbole_tme.experiment.loading import build_model
from recbole_tme.experiment.run import run

LEAKY = Path(__file__).parents[2] / "examples" / "leaky_neighbours.py"
SMALL = ["--embedding_size=8", "--instances=60"]


@pytest.fixture(autouse=True)
def in_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def rows(printed: str) -> dict[str, float]:
    """The share of moved instances by variation, in percent."""
    lines = [line.rsplit("%", 1)[0].rsplit(None, 1) for line in printed.splitlines() if "%" in line]
    return {name.strip(): float(share) for name, share in lines}


def test_the_leaky_example_is_caught_and_the_price_of_its_leak_shown(capsys):
    assert main(["leakcheck", f"--plugin={LEAKY}", "--dataset=toy", *SMALL]) == 1
    printed = capsys.readouterr().out
    moved = rows(printed)
    assert moved["alone, without batch mates"] > 50
    assert moved["scored a second time"] == moved["padded further, or less"] == 0
    assert printed.splitlines()[-1].startswith("LEAKS: it reads its batch mates")


@pytest.mark.parametrize("model", ["TMEGNN", "DANSeR", "SRGNN", "SPopSTAN", "VSTAN", "recbole:GRU4Rec"])
def test_models_that_score_each_session_by_itself_pass(model, capsys):
    assert main(["leakcheck", f"--model={model}", "--dataset=toy", "--instances=60"]) == 0
    printed = capsys.readouterr().out
    assert set(rows(printed).values()) == {0.0}
    assert printed.splitlines()[-1] == "no leak found"


def test_a_model_that_attends_to_padding_is_caught(capsys):
    # RecBole's STAMP averages over the padding too; on sessions shorter than allowed its scores move with the width.
    arguments = ["leakcheck", "--model=recbole:STAMP", "--dataset=toy", "--padding=batch", "--instances=60"]
    assert main(arguments) == 1
    moved = rows(capsys.readouterr().out)
    assert moved["padded further, or less"] > 50
    assert moved["alone, without batch mates"] == 0


def test_a_finished_run_is_checked_with_its_weights(capsys):
    settings = {"epochs": 2, "embedding_size": 8, "show_progress": False, "run_dir": "runs", "learning_rate": 0.02}
    directory = run(load_config("SRGNN", "toy", config_dict=settings))
    assert main(["leakcheck", str(directory.path), "--instances=100000"]) == 0
    printed = capsys.readouterr().out
    test = directory.read_metrics()["test"]
    shown = f"{100 * test['hit@20']:.2f} / {100 * test['mrr@20']:.2f}"
    assert f"in batches {shown}, alone {shown}" in printed
    with pytest.raises(UserError, match="brings its model"):
        dispatch(["leakcheck", str(directory.path), "--model=SRGNN"])


def test_every_instance_of_the_batches_is_compared():
    config = load_config("SPop", "toy", config_dict={"eval_batch_size": 7, "show_progress": False})
    data = load_data(config)
    model, loaders = build_model(config, data)
    found = check_leaks(model.eval(), loaders, config, data, instances=35)
    assert {len(moves) for moves in found.moved.values()} == {35}
    assert np.array_equal(found.rank_in_batch, found.rank_alone)


def test_moves_are_relative_to_the_range_of_the_scores():
    scores = torch.tensor([[9.0, 0.0, 1.0, 2.0], [0.0, 1e-9, 2e-9, 3e-9], [0.0, 1.0, -torch.inf, 0.0]])
    other = scores.clone()
    other[0, 0] = 5.0
    assert largest_moves(scores, other).tolist() == [0, 0, 0]
    other[0, 1], other[1, 1], other[2, 3] = 0.5, 2e-9, -torch.inf
    assert largest_moves(scores, other).tolist() == pytest.approx([0.25, 0.5, np.inf])
    assert largest_moves(torch.full((1, 4), 3.0), torch.full((1, 4), 3.0 + 1e-6)).item() < TOLERANCE


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--instances=0"], "--instances"),
        (["--model=tmegn"], "did you mean TMEGNN"),
        (["--dataset=toy", "--nonsense=1"], "unknown key 'nonsense'"),
        (["runs/none"], "runs/none"),
    ],
)
def test_bad_input_gets_one_line(arguments, message, capsys):
    assert main(["leakcheck", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line
