"""A published table measured again: its files are checked, its sessions found, a figure reproduced to the digit."""

from __future__ import annotations

import gzip

import pytest
import yaml

from recbole_tme.cli import main
from recbole_tme.comparison import reproduction
from recbole_tme.comparison.runs import Ended
from recbole_tme.config.load import load_config
from recbole_tme.errors import UserError
from recbole_tme.experiment.run import run
from recbole_tme.models import registry

LOG = [("a", 1, 10), ("a", 2, 11), ("b", 2, 12), ("b", 3, 13), ("b", 1, 14), ("c", 1, 15), ("c", 2, 16), ("d", 2, 17)]
LOG += [("d", 3, 18)]


def write_log(path, rows):
    text = "SessionId\tItemId\tTime\n" + "".join(f"{s}\t{i}\t{t}\n" for s, i, t in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", reproduction.names())
def test_every_table_is_well_formed_and_its_settings_are_those_of_its_models(name):
    table = reproduction.read(name)
    assert table.rows and table.metrics and table.notes
    for row in table.rows:
        config = reproduction.config_of(table, row, {})
        assert all(config[key] == value for key, value in row.settings.items())
        assert set(row.published) <= set(table.metrics) and all(0 < value < 1 for value in row.published.values())
        assert registry.resolve(row.model) is config.model_class
    if table.instances:
        # A share of so many instances, printed with three digits.
        for row in table.rows:
            hit = row.published.get("hit@20")
            assert hit is None or any(abs(n / table.instances - hit) <= 5.1e-4 for n in range(table.instances + 1))


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_the_first_sessions_are_those_of_the_file_whatever_their_times(tmp_path, suffix):
    path = write_log(tmp_path / f"log.txt{suffix}", [*LOG[2:5], *LOG[:2], *LOG[5:]])
    assert reproduction.first_sessions(path, "SessionId", 2) == ["b", "a"]
    assert reproduction.first_sessions(path, "SessionId", 4) == ["b", "a", "c", "d"]
    with pytest.raises(UserError, match="has 4 sessions, fewer than the 9"):
        reproduction.first_sessions(path, "SessionId", 9)
    with pytest.raises(UserError, match=r"log.txt.*:1: has no column Visit"):
        reproduction.first_sessions(path, "Visit", 1)


def test_another_file_than_the_papers_and_none_at_all_are_refused(tmp_path, capsys):
    write_log(tmp_path / "rec15_train_full.txt", LOG)
    assert main(["reproduce", "ecir24", f"--data={tmp_path}", f"--data_path={tmp_path / 'out'}"]) == 2
    assert "rec15_train_full.txt: is another file than the paper's (SHA-256" in capsys.readouterr().err
    (tmp_path / "rec15_train_full.txt").unlink()
    assert main(["reproduce", "ecir24", f"--data={tmp_path}", f"--data_path={tmp_path / 'out'}"]) == 2
    assert "has no rec15_train_full.txt or rec15_train_full.txt.gz; --data is the folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["ecir42"], "there is no table ecir42; did you mean ecir24?"),
        (["ecir24", "--models=STAM"], "ecir24 has no row STAM; did you mean STAN?"),
        (["ecir24", "--seeds=0"], "--seeds: must be at least 1"),
        (["ecir24", "--workers=0"], "--workers: must be at least 1"),
    ],
)
def test_bad_options_get_one_line(tmp_path, capsys, options, said):
    assert main(["reproduce", *options, f"--data={tmp_path}"]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_a_table_of_ones_own_is_a_file(tmp_path, monkeypatch, capsys):
    """Published on the first two of the test sessions; a model without published figures; text put into a page."""
    import hashlib

    train, test = write_log(tmp_path / "train.txt", LOG), write_log(tmp_path / "test.txt.gz", LOG[2:])
    digest = {"train": train.read_bytes(), "test": gzip.decompress(test.read_bytes())}
    table = {
        "title": "A paper",
        "source": "nowhere",
        "get_data": "its files",
        "data": {
            "name": "tiny",
            "train": "train.txt",
            "test": "test.txt",
            "sha256": {split: hashlib.sha256(content).hexdigest()[:8] for split, content in digest.items()},
            "options": {"format": "clicks", "session": "SessionId", "item": "ItemId", "time": "Time"},
        },
        "published_on": {"first_sessions": 2, "instances": 3},
        "metrics": ["P@2", "MRR@2"],
        "notes": ["a note"],
        "settings": {"topk": [2], "valid_metric": "MRR@2", "valid_ratio": 0.3},
        "rows": {"SPop": {"published": {"P@2": 0.333}}, "OwnItems": {}},
    }
    root = tmp_path / "properties"
    (root / "reproduction").mkdir(parents=True)
    (root / "reproduction" / "mine.yaml").write_text(yaml.safe_dump(table))
    monkeypatch.setattr(reproduction, "properties_root", lambda: root)
    (tmp_path / "page.md").write_text("before\n<!-- mine: begin -->\nold\n<!-- mine: end -->\nafter\n")
    places = [f"--{name}={tmp_path / name}" for name in ("data_path", "run_dir")]
    command = ["reproduce", "mine", f"--data={tmp_path}", *places, f"--into={tmp_path / 'page.md'}"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "| SPop | 0.333 |" in printed and "| OwnItems | - |" in printed and "* a note" in printed
    assert "the 2 test sessions that the published figures are of (3 instances) and on all 3 test sessions" in printed
    page = (tmp_path / "page.md").read_text()
    assert page.startswith("before\n") and page.endswith("after\n") and "old" not in page and "| SPop |" in page


def test_sr_on_the_99_published_sessions_gives_the_published_hit_rate(shared_data, tmp_path):
    folder = shared_data / "ecir24-rsc15-64"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data/ecir24-rsc15-64")
    table = reproduction.read("ecir24")
    wanted = reproduction.prepared(table, folder, tmp_path / "data")
    assert len(wanted) == 99
    rows = table.chosen(["SR"])
    places = {"data_path": str(tmp_path / "data"), "run_dir": str(tmp_path / "runs"), "show_progress": False}
    (job,) = reproduction.jobs(table, rows, 3, places, tmp_path / "logs")
    directory = run(load_config("SR", table.data["name"], config_dict={**table.settings, **rows[0].settings, **places}))
    (measured,) = reproduction.measure(table, rows, [Ended(job, directory.path)], wanted)
    ours = measured.on_published["hit@20"]
    assert round(ours.value, 3) == 0.506 == measured.row.published["hit@20"]
    assert ours.sessions == 99 and ours.low < 0.43 and ours.high > 0.58
    everything = measured.on_all["hit@20"]
    assert everything.sessions == 1703 and everything.value == pytest.approx(0.54, abs=0.005)
