"""``recommend`` and ``bundle`` on the command line: streams in, CSV out, and bundles that are whole or refused."""

import argparse
import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from helpers.quick_run import MINING, quick_run
from safetensors.torch import load_file, save_file

from recbole_tme.cli import main
from recbole_tme.errors import UserError
from recbole_tme.serving.bundle import FORMAT, digest, write_bundle
from recbole_tme.serving.recommender import Recommender

ROOT = Path(__file__).parents[2]

# A process that has no RecBole, no pandas and no Ray, as far as importing goes.
WITHOUT_RECBOLE = """\
import sys
from importlib.machinery import PathFinder

class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] in ("recbole", "ray", "pandas", "pyarrow", "duckdb"):
            return None
        return PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Hiding
from recbole_tme.cli import main
sys.exit(main(sys.argv[1:]))
"""


def program(*arguments, given=b"", code=None):
    command = ["-m", "recbole_tme"] if code is None else ["-c", code]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    return subprocess.run([sys.executable, *command, *map(str, arguments)], input=given, capture_output=True,
                          env=environment)  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return quick_run(tmp_path_factory.mktemp("cli"), "TMEGNN", **MINING)


@pytest.fixture(scope="module")
def bundle(finished, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "bundle"
    assert main(["bundle", str(finished.path), f"--out={out}"]) == 0
    return out


@pytest.fixture(scope="module")
def recommender(finished) -> Recommender:
    return Recommender.load(finished.path)


@pytest.fixture
def copied(bundle, tmp_path) -> Path:
    return shutil.copytree(bundle, tmp_path / "copied")


def as_csv(sessions) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["time", "session_id", "item_id"])
    writer.writerows([0, name, item] for name, items in sessions for item in items)
    return text.getvalue()


def rows_of(text: str) -> list[dict]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_file_of_sessions(finished, recommender, tmp_path, capsys, monkeypatch):
    names = recommender.items
    given = [("x,1", names[:3]), ("y", [names[5], "zz", names[5]]), ("z", ["zz"]), ("x,1", names[4:5])]
    (tmp_path / "in.csv").write_text("\ufeff" + as_csv(given) + "\n", encoding="utf-8")
    sessions = [("x,1", names[:3] + names[4:5]), *given[1:3]]
    output = tmp_path / "out.csv"
    monkeypatch.setattr("recbole_tme.serving.selection.LARGEST_BATCH", 2)
    assert (
        main(["recommend", str(finished.path), f"--input={tmp_path / 'in.csv'}", f"--output={output}", "-k", "4"]) == 0
    )
    shown = capsys.readouterr()
    rows = rows_of(output.read_text(encoding="utf-8"))
    table = recommender.recommend([items for _, items in sessions], k=4)
    assert list(rows[0]) == ["session", "rank", "item", "title", "score", "source"]
    assert [row["session"] for row in rows] == [sessions[i - 1][0] for i in table["session"]]
    assert [int(row["rank"]) for row in rows] == table["rank"].tolist()
    assert [row["item"] for row in rows] == table["item"].tolist()
    assert [row["source"] for row in rows] == table["source"].tolist()
    assert [row["title"] for row in rows] == [recommender.titles.get(item, "") for item in table["item"]]
    assert any(row["title"] for row in rows)
    # Batches of two round otherwise than a batch of four.
    assert [float(row["score"]) for row in rows] == pytest.approx(table["score"].tolist(), rel=1e-5)
    assert shown.out == ""
    assert all(text in shown.err for text in ("3 sessions answered, 2 by the model", "1 of 3", "'zz'"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out.csv"]


def test_lines_from_the_standard_input_in_a_process_of_its_own(tmp_path):
    directory = quick_run(tmp_path, "SPop")
    # Ids of the shop hold spaces, so that no line can name one: each session is popularity's.
    done = program("recommend", directory.path, "--input=-", "-k", 2, given=b"a b\n\nc\n")
    assert done.returncode == 0, done.stderr
    rows = rows_of(done.stdout.decode())
    assert [(row["session"], row["rank"]) for row in rows] == [(s, r) for s in "123" for r in "12"]
    assert {row["source"] for row in rows} == {"popularity"}
    said = done.stderr.decode()
    assert said.startswith("note: ") and said.count("note: ") == 1 and "3 of 3" in " ".join(said.split())


INTERLEAVED = """session_id,item_id,timestamp
v1,p3,10
v2,p9,11
v2,p10,13
v1,p4,12
v1,p2,9
"""


@pytest.mark.parametrize("options", [[], ["--session=session_id", "--item=item_id", "--time=timestamp"]])
def test_clicks_are_grouped_and_sorted_wherever_they_stand(tmp_path, options):
    from recbole_tme.commands.recommend import _columns, add_arguments
    from recbole_tme.serving.session_files import read_sessions

    (tmp_path / "in.csv").write_text(INTERLEAVED)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    arguments = parser.parse_args(["RUN", f"--input={tmp_path / 'in.csv'}", *options])
    found = dict(read_sessions(arguments.input, arguments.format, _columns(arguments)))
    assert found == {"v1": ["p2", "p3", "p4"], "v2": ["p9", "p10"]}


def test_output_in_parquet_is_the_same(finished, recommender, tmp_path):
    (tmp_path / "in.csv").write_text(as_csv([("x", recommender.items[:3]), ("y", ["zz"])]))
    for ending in ("csv", "parquet"):
        output = tmp_path / f"out.{ending}"
        assert main(["recommend", str(finished.path), f"--input={tmp_path / 'in.csv'}", f"--output={output}"]) == 0
    text, table = rows_of((tmp_path / "out.csv").read_text()), pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert list(text[0]) == list(table[0])
    for row, one in zip(text, table, strict=True):
        assert (row["session"], int(row["rank"]), row["item"]) == (one["session"], one["rank"], one["item"])
        assert float(row["score"]) == pytest.approx(one["score"], rel=1e-6) and row["source"] == one["source"]


def test_one_session_on_the_command_line(finished, recommender, capsys):
    assert main(["recommend", str(finished.path), "--session=zz", "-k", "1"]) == 0
    assert [row["source"] for row in rows_of(capsys.readouterr().out)] == ["popularity"]


def test_input_is_read_as_a_stream(recommender, finished, tmp_path, monkeypatch):
    """A batch's answers are written before the next batch is read: the memory does not grow with the input."""
    from recbole_tme.serving import recommend
    from recbole_tme.serving.session_files import NamedSession

    monkeypatch.setattr(recommender, "batch_size", 5)
    taken, ahead, text = [], [], io.StringIO()

    def endless():
        for number in range(100):
            taken.append(number)
            ahead.append(number - text.getvalue().count("\n"))
            yield NamedSession(str(number), [recommender.items[number % 7]])

    recommend.write_recommendations(recommender, endless(), text, 1, False)
    assert len(taken) == 100 and max(ahead) <= 2 * 5


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["missing", "--session=a"], "missing"),
        (["RUN", "--session=a", "-k", "0"], "k: "),
        (["RUN", "--session=a", "-k", "81"], "80"),
        (["RUN", "--input=missing.txt"], "missing.txt"),
        (["RUN", "--input=."], "."),
        (["RUN", "--session=a", "--output=no/such/folder/file"], "folder"),
        (["RUN", "--session=a", "--plugin=missing.py"], "missing.py"),
    ],
)
def test_each_bad_option_gets_one_line_that_names_it(finished, argv, named, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["recommend", *(str(finished.path) if word == "RUN" else word for word in argv)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and named in line


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("in.txt", b"", "empty"),
        ("in.csv", b"", "empty"),
        ("in.csv", b"session,item\n", "no rows"),
        ("in.csv", b"a,b\n1,2\n", "session column"),
        ("in.txt", b"<html>\n", "HTML"),
        ("in.txt", b'{"a": 1}\n', "session column"),
        ("in.csv", b"session,thing\n1,2\n", "item"),
        ("in.csv", b"session,item\n1,2\n1\n", "line 3"),
        ("in.csv", b"session,item\n1,2,3\n", "line 2"),
        ("in.csv", b"session,item\n1,\n", "line 2"),
        ("in.csv", b'session,item\n1,"2\n', "line 2"),
        ("in.csv", b"session,item\n1,\xff\n", "line 2"),
        ("in.txt", b"a b\n\xff\n", "line 2"),
    ],
)
def test_bad_input_gets_one_line_and_leaves_no_output(finished, name, content, named, tmp_path, capsys):
    (tmp_path / name).write_bytes(content)
    output = tmp_path / "out.csv"
    assert main(["recommend", str(finished.path), f"--input={tmp_path / name}", f"--output={output}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and str(tmp_path / name) in line and named in line
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_unfinished_run_is_refused(finished, tmp_path, capsys):
    broken_off = shutil.copytree(finished.path, tmp_path / "run")
    (broken_off / "metrics.json").unlink()
    for argv in (["recommend", str(broken_off), "--session=a"], ["bundle", str(broken_off), f"--out={tmp_path / 'b'}"]):
        assert main(argv) == 2
        assert "not finished" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_bundle_recommends_lines_without_what_reads_logs(bundle):
    done = program("recommend", bundle, "--input=-", "-k", 2, given=b"a b\n\nc\n", code=WITHOUT_RECBOLE)
    assert done.returncode == 0, done.stderr
    assert len(rows_of(done.stdout.decode())) == 6
    done = program("recommend", bundle, "--input=-", "--format=clicks", given=b"a,b\n", code=WITHOUT_RECBOLE)
    (line,) = done.stderr.decode().splitlines()
    assert done.returncode == 2 and "pip install duckdb pyarrow" in line


def test_a_bundle_recommends_without_recbole(bundle, recommender, tmp_path):
    sessions = [("1", recommender.items[:4]), ("2", ["zz"]), ("3", recommender.items[7:9])]
    given = as_csv(sessions).encode()
    done = program("recommend", bundle, "--input=-", "--format=clicks", "-k", 3, given=given,
                   code=WITHOUT_RECBOLE.replace(', "pyarrow", "duckdb"', ""))  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = rows_of(done.stdout.decode())
    table = recommender.recommend([items for _, items in sessions], k=3)
    assert [row["item"] for row in rows] == table["item"].tolist()
    assert [torch.tensor(float(row["score"])).item() for row in rows] == table["score"].tolist()
    assert [row["title"] for row in rows] == [recommender.titles.get(item, "") for item in table["item"]]


def test_a_bundle_of_a_model_of_recbole_asks_for_it(tmp_path):
    directory = quick_run(tmp_path, "recbole:STAMP", embedding_size=8)
    write_bundle(directory.path, tmp_path / "bundle")
    assert Recommender.load(tmp_path / "bundle").recommend([["zz"]], k=1).shape == (1, 6)
    done = program("recommend", tmp_path / "bundle", "--session=a", code=WITHOUT_RECBOLE)
    (line,) = done.stderr.decode().splitlines()
    assert done.returncode == 2 and line.startswith("error: RecBole is not installed")


def test_a_bundle_holds_no_pickle_and_no_path_of_this_machine(bundle, finished):
    assert sorted(path.name for path in bundle.iterdir()) == ["bundle.json", "catalogue.json", "model.safetensors"]
    assert str(finished.path.parents[2]) not in (bundle / "bundle.json").read_text()
    original, packed = load_file(finished.model_file), load_file(bundle / "model.safetensors")
    assert original.keys() == packed.keys() and all(torch.equal(original[name], packed[name]) for name in packed)


@pytest.mark.parametrize("name", ["bundle.json", "catalogue.json", "model.safetensors"])
@pytest.mark.parametrize("place", [0.0, 0.3, 0.5, 0.97])
def test_one_flipped_bit_is_refused_by_the_files_name(copied, name, place):
    content = bytearray((copied / name).read_bytes())
    content[int(place * len(content))] ^= 1
    (copied / name).write_bytes(content)
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        Recommender.load(copied)


@pytest.mark.parametrize("name", ["catalogue.json", "model.safetensors"])
def test_a_missing_file_is_named(copied, name):
    (copied / name).unlink()
    with pytest.raises(UserError, match=name):
        Recommender.load(copied)


@pytest.mark.parametrize(("change", "named"), [({"version": 2}, "version 2"), ({"format": "other"}, "no bundle")])
def test_another_format_or_version_is_refused(copied, change, named):
    manifest = json.loads((copied / "bundle.json").read_text())
    assert manifest["format"] == FORMAT
    del manifest["sha256"]
    manifest |= change
    (copied / "bundle.json").write_text(json.dumps(manifest | {"sha256": digest(manifest)}))
    with pytest.raises(UserError, match=named):
        Recommender.load(copied)


def test_an_existing_folder_is_not_overwritten(finished, bundle, capsys):
    before = (bundle / "bundle.json").stat().st_mtime_ns
    assert main(["bundle", str(finished.path), f"--out={bundle}"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert (bundle / "bundle.json").stat().st_mtime_ns == before


def test_a_run_that_cannot_be_loaded_leaves_no_bundle(finished, tmp_path, capsys):
    run = shutil.copytree(finished.path, tmp_path / "run")
    weights = load_file(run / "model.safetensors")
    weights["item_embedding.weight"] = weights["item_embedding.weight"][:-1].clone()
    save_file(weights, run / "model.safetensors")
    assert main(["bundle", str(run), f"--out={tmp_path / 'bundle'}"]) == 2
    assert "does not fit" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
