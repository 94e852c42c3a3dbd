"""The nightly job of docs/production.md, end to end on synthetic days."""

import subprocess
import sys

import pytest
from helpers.serving_process import ROOT, environment

from recbole_tme.runs.directory import RunDirectory
from recbole_tme.runs.lineage import read_lineage
from recbole_tme.serving.recommender import Recommender

SCRIPT = ROOT / "deploy" / "nightly.sh"


def test_the_page_shows_the_script_of_at_most_fifteen_lines():
    _, _, lines = SCRIPT.read_text().split("\n", 2)
    assert lines in (ROOT / "docs" / "production.md").read_text() and len(lines.splitlines()) <= 15


@pytest.mark.slow
def test_the_nightly_job_replaces_the_model_or_leaves_it(tmp_path):
    """A first night, two on a log that grows by a day with a new item in it, and one on a log that is none."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "recbole-tme"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m recbole_tme "$@"\n')
    program.chmod(0o755)
    path = {"PATH": f"{program.parent}:{environment()['PATH']}"}

    def night(days):
        clicks = [
            f"s{day}-{s},{f'new{day}' if s % 9 == 0 and c == 1 else f'i{(3 * s + c) % 25}'},{86400 * day + 600 * s + c}"
            for day in range(days) for s in range(40) for c in range(4)
        ]  # fmt: skip
        (tmp_path / "log.csv").write_text("\n".join(["session_id,item_id,timestamp", *clicks]) + "\n")
        command = [str(SCRIPT), str(tmp_path / "log.csv"), str(tmp_path / "shop"), "SRGNN"]
        return subprocess.run(command, capture_output=True, text=True, env=environment() | path)

    model, current = tmp_path / "shop" / "model", tmp_path / "shop" / "current"
    served = None
    for generation, days in enumerate((3, 4, 5)):
        done = night(days)
        assert done.returncode == 0, done.stderr
        assert model.resolve() != served
        served = model.resolve()
        (answer,) = Recommender.load(model).answers([[f"new{days - 1}"]], 3)
        assert answer.source == "model", days
        if generation:
            assert read_lineage(RunDirectory(current))["generation"] == generation
    assert night(0).returncode != 0 and model.resolve() == served
