"""Runs of seconds on a data set with foreign ids and titles, for the tests of what is done with a finished run."""

from dataclasses import replace

import numpy as np

from recbole_tme.config.load import load_config
from recbole_tme.data.readers.atomic import write_dataset
from recbole_tme.data.synthetic import toy
from recbole_tme.experiment.run import run
from recbole_tme.runs.directory import RunDirectory

QUICK = {"show_progress": False, "epochs": 1, "device": "cpu"}
MINING = {"embedding_size": 8, "rank_low": 3, "rank_high": 20}


def shop(folder):
    """The toy data set under ids and titles that are none of the program's own, and with some order of popularity."""
    data = toy()
    names = [f"Ärtikel {item}, no. {i}" for i, item in enumerate(data.tokens[1:])]
    tokens = np.array([data.tokens[0], *names], dtype=object)
    titles = {name: f'"{name}"' for name in names[::2]}
    write_dataset(folder, replace(data, name="shop", tokens=tokens, titles=titles), {"source": "toy"})


def quick_run(folder, model, **given_settings) -> RunDirectory:
    if not (folder / "data" / "shop").exists():
        shop(folder / "data")
    fixed = QUICK | {"run_dir": str(folder), "data_path": str(folder / "data")}
    return run(load_config(model, "shop", config_dict=fixed | given_settings))
