"""Short runs of ATSRec and what is compared of them."""

import csv

from recbole_tme.config.load import load_config
from recbole_tme.experiment.run import run
from recbole_tme.runs.directory import RunDirectory

QUIET = {"show_progress": False, "device": "cpu"}


def trained(model: str, **settings) -> RunDirectory:
    return run(load_config(model, "toy", config_dict=QUIET | {"epochs": 1} | settings))


def history(directory: RunDirectory) -> list[dict]:
    with directory.history_file.open() as file:
        return [{k: v for k, v in row.items() if "seconds" not in k} for row in csv.DictReader(file)]
