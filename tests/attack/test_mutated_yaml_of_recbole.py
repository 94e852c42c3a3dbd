"""A RecBole user's yaml, mutated: converted, or refused with one line; what comes out is a yaml again."""

import random

import pytest
import yaml

from recbole_tme.cli import main
from tests.attack.test_mutated_inputs import TRIES, YAML_PIECES, mutated
from tests.attack.test_wrong_shapes import WRONG
from tests.helpers.tally import TRIED

pytestmark = pytest.mark.slow

WHOLE = {
    **{"model": "SRGNN", "dataset": "diginetica", "USER_ID_FIELD": "session_id", "field_separator": "\t"},
    "load_col": {"inter": ["session_id", "item_id", "timestamp"]},
    **{"user_inter_num_interval": "[5,inf)", "item_inter_num_interval": "[5,inf)"},
    "val_interval": {"timestamp": "[0,inf)"},
    "eval_args": {"order": "TO", "group_by": "user", "mode": "full"},
    **{"metrics": ["Recall", "MRR"], "topk": [10, 20], "valid_metric": "MRR@10", "learning_rate": 0.001},
    **{"train_neg_sample_args": None, "MAX_ITEM_LIST_LENGTH": 20, "epochs": 10, "checkpoint_dir": "saved"},
    **{"benchmark_filename": ["train", "valid", "test"], "data_path": "dataset/", "gpu_id": "0", "repeatable": True},
}
NASTY = [*WRONG, "[", "(5,", "[nan,inf)", "[1e400,2]", "[²,5)", ["a", 5], {"timestamp": 5}, {"LS": 3}, {"split": None},
         "x\nplugin: evil.py"]  # fmt: skip


def test_a_mutated_yaml_of_recbole_is_converted_or_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = random.Random("convert")
    for number in range(2 * TRIES):
        if number % 2:
            text = yaml.safe_dump({**WHOLE, rng.choice([*WHOLE, "unheard\nkey"]): rng.choice(NASTY)}).encode()
        else:
            text = mutated(yaml.safe_dump(WHOLE).encode(), rng) + rng.choice([b"", rng.choice(YAML_PIECES)])
        (tmp_path / "theirs.yaml").write_bytes(text)
        TRIED["commands"] += 1
        code = main(["convert", "theirs.yaml"])
        said = capsys.readouterr()
        assert code in (0, 2) and said.err.count("error: ") == (code == 2), f"{number}: {text!r}: {said.err}"
        assert code or "plugin" not in yaml.safe_load(said.out), text
