"""The files for containers and services: what they start exists, and the image's packages are enough to serve."""

import importlib.metadata
import os
import re
import shlex
import subprocess
import sys
import urllib.request

import pytest
import yaml
from helpers.image import DOCKERFILE, build, given
from helpers.serving_process import ROOT, environment
from helpers.untrained import untrained
from packaging.requirements import Requirement

from recbole_tme.cli import main
from recbole_tme.serving.bundle import pack

pytest.importorskip("fastapi", reason="needs FastAPI, the extra serve")
pytest.importorskip("prometheus_client", reason="needs prometheus-client, the extra serve")

DEPLOY = ROOT / "deploy"

# The program with all modules hidden that belong to other distributions than some.
ONLY = """\
import sys
from importlib.machinery import PathFinder

class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            return None
        return PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Hiding
from recbole_tme.cli import main
sys.exit(main(sys.argv[1:]))
"""


def installed_by_the_image() -> list[str]:
    """What the image installs by name."""
    (line,) = re.findall(r"pip install [^&]*-c constraints.txt ([^&]*)", DOCKERFILE)
    return line.split()


def needed(names) -> set[str]:
    """Distributions that come with some, by their plain names."""
    found, left = set(), list(names)
    while left:
        name = left.pop().lower().replace("_", "-")
        if name in found:
            continue
        try:
            wants = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        found.add(name)
        requirements = [Requirement(one) for one in wants]
        left += [one.name for one in requirements if one.marker is None or one.marker.evaluate({"extra": ""})]
    return found


def test_the_images_packages_are_enough_to_serve_with_rules(tmp_path):
    pack(untrained("DANSeR", tmp_path, embedding_size=8), tmp_path / "bundle")
    (tmp_path / "items.csv").write_text("item_id,price\ni1,5\n")
    kept = needed(installed_by_the_image())
    by_module = importlib.metadata.packages_distributions()
    hidden = {
        module
        for module, owners in by_module.items()
        if not {owner.lower().replace("_", "-") for owner in owners} & kept and module != "recbole_tme"
    }
    assert {"recbole", "ray", "pandas", "scipy"} & set(by_module) <= hidden
    options = [str(tmp_path / "bundle"), "--port=0", f"--items={tmp_path / 'items.csv'}", "--rules={deny: price = 5}"]
    command = [sys.executable, "-c", f"HIDDEN = {hidden!r}\n{ONLY}", "serve", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        try:
            line = process.stdout.readline()
            assert line.startswith("http://"), process.communicate()[1]
            with urllib.request.urlopen(line.split()[0] + "/ready", timeout=30) as response:
                assert response.status == 200
        finally:
            process.terminate()


@pytest.fixture
def parsed(monkeypatch):
    """Parses a command line of serve and says what went wrong."""

    def parse(words):
        from recbole_tme.commands import serve

        seen = []
        monkeypatch.setattr(serve, "run", seen.append)
        assert main(["serve", *words]) == 0
        return seen[0]

    return parse


def test_what_the_image_the_service_and_compose_start_exists(parsed):
    assert parsed(given("^CMD")).host == "0.0.0.0"
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert str(parsed(compose["recommend"]["command"]).token_file) == "/token"
    (line,) = re.findall(r"^ExecStart=\S+ serve (.*)$", (DEPLOY / "recbole-tme.service").read_text(), re.MULTILINE)
    assert parsed(shlex.split(line)).port == 8000
    (target,) = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"][0]["static_configs"]
    assert target["targets"] == ["recommend:8000"] and "recommend" in compose


def test_the_image_copies_what_there_is_and_does_not_run_as_root():
    for line in re.findall(r"^COPY ((?!--from).*) \S+$", DOCKERFILE, re.MULTILINE):
        assert all((ROOT / name).exists() for name in line.split())
    assert DOCKERFILE.rindex("\nUSER 10001") < DOCKERFILE.rindex("\nENTRYPOINT")


# It installs torch into an environment of its own, which takes minutes where others work too.
@pytest.mark.timeout(1500)
@pytest.mark.slow
def test_the_images_steps_make_a_server_that_answers_and_is_healthy(tmp_path):
    pack(untrained("DANSeR", tmp_path, embedding_size=8), tmp_path / "bundle")
    app = build(tmp_path / "image")

    def inside(words):
        """A command of the image, with its paths in the folder."""
        places = {"/app/": f"{app}/", "/model": str(tmp_path / "bundle")}
        return [next((word.replace(a, b) for a, b in places.items() if word.startswith(a)), word) for word in words]

    command = [*inside(given("^ENTRYPOINT")), *inside(given("^CMD")), "--port=0"]
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=alone) as server:
        try:
            line = server.stdout.readline()
            assert line.startswith("http://"), server.communicate()[1]
            port = line.split()[0].rpartition(":")[2]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=30) as response:
                assert response.status == 200
            check = [word.replace(":8000/", f":{port}/") for word in inside(given(r"HEALTHCHECK.*CMD"))]
            assert (
                ":8000/" in str(given(r"HEALTHCHECK.*CMD"))
                and subprocess.run(check, env=alone, check=False).returncode == 0
            )
        finally:
            server.terminate()
    assert server.returncode == 0
    names = subprocess.run([app / "bin/pip", "list"], capture_output=True, text=True, check=True).stdout.lower()
    assert "fastapi" in names and "recbole-tme" in names.replace("_", "-") and "pandas" not in names
