"""Every command of README and docs is this program's, has options that exist and works on small data; or it is another
program's, and a test that is named here runs what it calls."""

import contextlib
import importlib.util
import io
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from helpers.doc_commands import PAGES, ROOT, blocks, commands, distinct, indented_commands, log_files, workshop

from recbole_tme.cli import COMMANDS, Parser, main, parse

ALL = commands()
OURS = distinct([command for command in ALL if command.arguments is not None])
OTHERS = distinct([command for command in ALL if command.arguments is None])
# Programs that are not ours, by how their lines begin, and the test that runs what they call.
ELSEWHERE = {
    "python3 -m venv .venv && .venv/bin/pip": ".ci/run",
    "python3 -m venv .venv && . .venv/bin/activate": ".ci/run",
    ". .venv/bin/activate": ".ci/run",
    "pip install": "tests/docs/test_commands.py",
    "curl": "tests/docs/test_commands.py",
    "mkdocs": "tests/docs/test_site.py",
    "python benchmarks/": "tests/test_benchmarks.py",
    "python scripts/run_notebooks.py": "tests/docs/test_notebooks.py",
    "ray start": "tests/tuning/test_tune_ray.py",
    "deploy/nightly.sh": "tests/commands/test_nightly.py",
    "docker": "tests/commands/test_deploy.py",
    'eval "$(register-python-argcomplete recbole-tme)"': "tests/test_cli.py",
}
# What the pages leave open, or what lies elsewhere on the reader's machine.
FILLED_IN = {
    "STUDY": "docs/studies/yoochoose-100k",
    "DEFAULT_RUN": "TMEGNN",
    "runs/yoochoose-100k/TMEGNN": "runs/tmall/TMEGNN",
    "/srv/shop/model": "srv/model",
    "/srv/": "srv/",
    "<address of the head>": "127.0.0.1",
}
# docs/python.md has a test of its own beside this one.
WITH_PYTHON = [page for page in PAGES if blocks(page, ("python",)) and page.name != "python.md"]
# Needs files of a paper's authors: tests/comparison/test_reproduction.py runs it on others.
WITHOUT_DATA = ("reproduce",)


def name_of(command) -> str:
    return f"{command.page}:{command.line}"


def test_the_pages_have_commands_and_no_block_hides_them():
    assert len(OURS) > 40 and {"README.md", "docs/own_data.md", "docs/production.md"} <= {one.page for one in ALL}
    assert {page.name: found for page in PAGES if (found := indented_commands(page))} == {}


@pytest.mark.parametrize("command", OURS, ids=name_of)
def test_its_options_exist(command):
    words = command.arguments
    name, rest = ("run", words) if not words or words[0].startswith("-") else (words[0], words[1:])
    assert name in COMMANDS
    module = importlib.import_module(f"recbole_tme.commands.{name}")
    parser = Parser(prog=name, allow_abbrev=False)
    module.add_arguments(parser)
    parse(parser, rest, getattr(module, "TAKES_KEYS", False))


@pytest.mark.parametrize("command", OTHERS, ids=name_of)
def test_other_programs_are_run_by_other_tests(command):
    (test,) = [test for begin, test in ELSEWHERE.items() if command.text.startswith(begin)]
    assert (ROOT / test).is_file()
    if command.text.startswith("python benchmarks/"):
        assert (ROOT / shlex.split(command.text)[1]).is_file()


def test_every_extra_that_is_to_be_installed_exists():
    tomllib = pytest.importorskip("tomllib", reason="needs tomllib, of Python 3.11")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for page in PAGES:
        for named in re.findall(r"pip install [^`\n]*?'(?:\.|recbole_tme)\[([\w,]+)\]'", page.read_text()):
            assert set(named.split(",")) <= set(extras), page


def test_the_readme_fits_one_screen_and_its_lines_are_those_of_ci():
    readme, ci = (ROOT / "README.md").read_text(), (ROOT / ".ci" / "run").read_text()
    assert len(readme.splitlines()) <= 120
    first, second = (line for line in readme.splitlines() if line.startswith("python3 -m venv .venv && "))
    assert second in ci.replace("-q ", "")
    (recbole,) = [part for part in first.split(" && ") if "recbole==" in part]
    assert recbole.removeprefix(".venv/bin/") in ci.replace("-q ", "")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("workshop")
    workshop(folder)
    (folder / "srv").mkdir()
    return folder


@pytest.fixture
def without_ray(monkeypatch):
    """Studies are checked and their folders made; no trial is trained."""
    from recbole_tme.api import tuning

    def work(study, *_):
        best = {"model": study.plan.settings["model"], "dataset": study.plan.settings["dataset"]}
        (study.folder / "best.yaml").write_text(yaml.safe_dump(best))
        # As at the end of a study, so that the next command may go on with it.
        study.journal.close()

    monkeypatch.setattr(tuning, "connected", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(tuning, "work", work)
    monkeypatch.setattr(tuning, "compare_tuned", lambda *_: type("Nothing", (), {"failures": []})())


@pytest.fixture
def without_estimates(monkeypatch):
    """Comparisons are checked; no step of any model is timed (tests/experiment/ times some)."""
    from recbole_tme.api import estimating

    monkeypatch.setattr(estimating, "plan_estimates", lambda *_: [])


@pytest.fixture
def without_waiting(monkeypatch):
    """Servers are built, and end instead of listening; their apps are kept."""
    from recbole_tme.serving.server import serve

    apps = []
    monkeypatch.setattr(serve, "serve", lambda app, listener, ready: (ready(), apps.append(app)))
    return apps


def quickly(words: list[str], folder: Path) -> list[str]:
    """The same command with what is left open filled in, and as little training as it can do."""
    text = shlex.join(words)
    for written, meant in FILLED_IN.items():
        text = text.replace(shlex.quote(written), meant).replace(written, meant)
    words = [_placeholders(word, folder) for word in shlex.split(text)]
    name = "run" if not words or words[0].startswith("-") else words[0]
    words = words if words and words[0] == name else [name, *words]
    if name in ("run", "tune", "compare"):
        words = [word for word in words if not word.startswith(("--epochs", "--num-samples", "--seeds"))]
        words += [] if any(word.startswith("--resume") for word in words) else ["--epochs=1"]
    if name == "run" and not any(word.startswith("--resume") for word in words):
        words += ["--run_dir=others", "--show_progress=False"]
    if name == "tune":
        words = [word for word in words if not word.startswith(("--ray-address", "--gpus-per-trial"))]
    # Trackers are extras, and tested in tests/experiment/ where they are installed.
    words = ["--logger=csv" if word.startswith("--logger=") and not _is_installed(word) else word for word in words]
    words = [word for word in words if not word.startswith("--wandb_project")]
    if name == "compare":
        words += [] if "--dry-run" in words else ["--dry-run"]
    if name == "prepare":
        words += ["--overwrite", f"--out={folder / 'prepared'}"]
    if name == "leakcheck":
        words += ["--instances=64"]
    if name == "serve":
        words = [word for word in words if not word.startswith(("--port", "--workers"))] + ["--port=0"]
    return words


def _is_installed(word: str) -> bool:
    return all(importlib.util.find_spec(name) for name in re.findall("wandb|mlflow", word))


def _placeholders(word: str, folder: Path) -> str:
    """``<run>`` and ``<another>`` as the newest run that has results of its own, ``<id>`` as the newest study."""
    if ">," in word:
        return ",".join(_placeholders(part, folder) for part in word.split(","))
    found = re.fullmatch(r"(--[\w-]+=)?(.*)<(run|another|id)>(.*)", word)
    if found is None:
        assert "<" not in word, f"{word}: what does it stand for?"
        return word
    option, before, _, after = found.groups(default="")
    there = [path for path in folder.glob(f"{before}*") if not (path / "refit.json").is_file()]
    newest = max(there, key=lambda path: path.stat().st_mtime)
    return f"{option}{newest.relative_to(folder)}{after}"


@pytest.mark.slow
@pytest.mark.parametrize("command", [one for one in OURS if one.arguments[0] not in WITHOUT_DATA], ids=name_of)
def test_it_does_what_it_says(command, made, monkeypatch, without_ray, without_estimates, without_waiting, capsys):
    monkeypatch.chdir(made)
    monkeypatch.setenv("WANDB_MODE", "offline")
    words = quickly(command.arguments, made)
    if words[0] == "bundle":
        shutil.rmtree(next(word for word in words if word.startswith("--out")).partition("=")[2], ignore_errors=True)
    if words[0] == "export":
        Path(next(word for word in words if word.startswith("--out")).partition("=")[2]).unlink(missing_ok=True)
    code = main(words)
    # A study without a trained trial has found nothing.
    assert code == 0 or (words[0] == "tune" and code == 1), (words, capsys.readouterr().err)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tune", "compare"])
def test_the_readmes_long_commands_train(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (command,) = [one for one in OURS if one.page == "README.md" and one.arguments[0] == name]
    few = {"tune": ["--num-samples=1"], "compare": ["--seeds=1"]}[name]
    words = [word.replace("tmall", "toy") for word in command.arguments]
    assert main([*words, *few, "--epochs=1"]) == 0, capsys.readouterr().err


@pytest.mark.slow
def test_requests_are_answered(made, monkeypatch, without_waiting):
    testing = pytest.importorskip("fastapi.testclient")
    monkeypatch.chdir(made)
    assert main(["serve", "runs/shop/TMEGNN", "--port=0"]) == 0
    client = testing.TestClient(without_waiting[0], base_url="http://127.0.0.1")
    for command in [one for one in OTHERS if one.text.startswith("curl")]:
        words = shlex.split(command.text)
        address = next(word for word in words if re.match(r"(http://)?[\w.]+:\d+/", word))
        path = "/" + address.removeprefix("http://").partition("/")[2]
        body = words[words.index("-d") + 1] if "-d" in words else None
        answer = client.get(path) if body is None else client.post(path, json=json.loads(body))
        assert answer.status_code == 200, command


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.name)
def test_python_blocks_run(page, made, monkeypatch):
    monkeypatch.chdir(made)
    if not Path("shop-model").exists():
        assert main(["bundle", "runs/shop/TMEGNN", "--out=shop-model"]) == 0
    log_files(made)
    with contextlib.redirect_stdout(io.StringIO()):
        for line, text in blocks(page, ("python",)):
            # tests/test_examples.py has the one, tests/recbole_patches/ the other.
            if "class ResidualGraph" not in text and "run_recbole(" not in text:
                exec(compile(text, f"{page.name}:{line}", "exec"), {"__name__": "page"})
