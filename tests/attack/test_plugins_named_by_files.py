"""Code runs where the command line names it: a run, a study or a settings file that names a plug-in only says so."""

import json
import shutil
import sys

import pytest

from recbole_tme import load_run
from recbole_tme.cli import main
from recbole_tme.errors import UserError
from recbole_tme.models import registry
from tests.helpers.quick_run import quick_run

PLUGIN = '''
from pathlib import Path
from recbole_tme.models.srgnn import SRGNN

Path("ran").touch()


class Mine(SRGNN):
    """A model of somebody's."""
'''
QUICK = ["--dataset=toy", "--epochs=1", "--show_progress=False", "--device=cpu"]


def forget():
    """As if no plug-in had been loaded."""
    registry._plugins.clear()
    registry._plugin_files.clear()
    for name in [name for name in sys.modules if name.startswith("recbole_tme_plugin_")]:
        del sys.modules[name]


@pytest.fixture
def given(tmp_path, monkeypatch):
    """A run, an unfinished one and a study of a model that a file of somebody's defines."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "their code.py").write_text(PLUGIN)
    registry.load_plugin("their code.py")
    directory = quick_run(tmp_path, "Mine", embedding_size=8).path
    shutil.move(directory, tmp_path / "run")
    shutil.copytree("run", "broken")
    (tmp_path / "broken" / "metrics.json").unlink()
    (tmp_path / "settings.yaml").write_text(f"plugin: {tmp_path / 'their code.py'}\nmodel: Mine\n")
    (tmp_path / "sessions.txt").write_text((tmp_path / "run" / "items.txt").read_text().splitlines()[1] + "\n")
    forget()
    (tmp_path / "ran").unlink()
    return tmp_path


READERS = {
    "recommend": ["recommend", "run", "--input=sessions.txt"],
    "serve": ["serve", "run", "--port=0"],
    "bundle": ["bundle", "run", "--out=made"],
    "export": ["export", "run", "--format=torch", "--out=made"],
    "leakcheck": ["leakcheck", "run", "--instances=4"],
    "diagnose": ["diagnose", "run"],
    "refit": ["refit", "run"],
    "resume": ["run", "--resume=broken"],
    "a blend's member": ["run", "--model=Blend", "--members=run", "--dataset=shop", "--data_path=data"],
    "settings of a run": ["run", "--config_files=settings.yaml", *QUICK],
    "settings of a comparison": ["compare", "--models=SPop,SRGNN", "--config_files=settings.yaml", *QUICK],
    "settings of a study": ["tune", "--model=Mine", "--config_files=settings.yaml", *QUICK],
    "settings of leakcheck": ["leakcheck", "--config_files=settings.yaml", *QUICK],
}


@pytest.mark.parametrize("what", READERS)
def test_a_plugin_that_a_file_names_is_not_run(what, given, capsys):
    assert main(READERS[what]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"names the plugin {given / 'their code.py'}, which is code" in line
    assert f"--plugin='{given / 'their code.py'}'" in line
    assert not (given / "ran").exists() and not (given / "made").exists()


@pytest.mark.parametrize("what", ["recommend", "bundle", "leakcheck", "diagnose", "resume", "settings of a run"])
def test_the_plugin_that_the_message_names_can_be_named_and_may_have_moved(what, given):
    (given / "elsewhere").mkdir()
    shutil.move("their code.py", "elsewhere")
    assert main([*READERS[what], "--plugin=elsewhere/their code.py"]) == 0
    assert (given / "ran").exists()


def test_commands_that_read_figures_need_no_plugin(given):
    for words in (["table", "run"], ["report", "run", "--out=made"], ["show", "run"], ["significance", "run", "run"]):
        assert main(words) == 0, words
    assert not (given / "ran").exists()


def test_python_asks_for_the_plugin_too(given):
    item = (given / "sessions.txt").read_text().split("\n")[0]
    with pytest.raises(UserError, match="is run only if you name it"):
        load_run("run").recommend([[item]])
    assert set(load_run("run", plugin="their code.py").recommend([[item]])["source"]) == {"model"}


@pytest.mark.slow
@pytest.mark.parametrize("where", ["plan.json", "space.yaml", "journal.jsonl"])
def test_a_study_of_others_does_not_make_code_run(where, given, capfd):
    study = ["tune", "--model=SRGNN", "--num-samples=1", "--run_dir=runs", *QUICK]
    assert main(study) == 0
    (folder,) = given.glob("runs/toy/SRGNN/tune-*")
    path = str(given / "their code.py")
    plan = json.loads((folder / "plan.json").read_text())
    plan["budget"]["trials"] = 2
    if where == "plan.json":
        plan["settings"]["plugin"] = [path]
    elif where == "space.yaml":
        (folder / where).write_text(f"plugin: {{choice: [{json.dumps(path)}]}}\n")
    else:
        begun = {"event": "begin", "trial": 1, "settings": {"plugin": [path]}, "time": 0.0}
        with (folder / where).open("a") as file:
            file.write(json.dumps(begun) + "\n")
    (folder / "plan.json").write_text(json.dumps(plan))
    capfd.readouterr()
    code = main(["tune", f"--resume={folder}"])
    said = capfd.readouterr().err
    assert code in (0, 2) and "Traceback" not in said, said
    assert not (given / "ran").exists()
