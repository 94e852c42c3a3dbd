"""Host names that IDNA refuses, or that the system is not even asked for: one line wherever a host can be named."""

import pytest

from recbole_tme.cli import main
from recbole_tme.data.download import download
from recbole_tme.errors import UserError
from recbole_tme.experiment.ray_versions import reachable_ray
from recbole_tme.serving.client import Client
from recbole_tme.serving.server.serve import listening_socket

NAMES = ["a..b", "x" * 80, "ü..é", "\ud800", "-x-.invalid"]


@pytest.mark.parametrize("name", [*NAMES, "a\0b", "1.2.3.4.5"])
def test_a_host_name_that_idna_refuses_cannot_be_listened_on(name):
    with pytest.raises(UserError, match="cannot be listened on"):
        listening_socket(name, 0)


@pytest.mark.parametrize("name", NAMES[:4])
def test_a_host_name_that_idna_refuses_cannot_be_asked(name, tmp_path):
    with pytest.raises(UserError, match="no Ray cluster can be reached"):
        reachable_ray(f"{name}:6379")
    with pytest.raises(UserError, match="no address that can be asked"):
        download(f"http://{name}/log.zip", tmp_path / "log.zip")
    with pytest.raises(ValueError, match="no host can be called"):
        Client(f"http://{name}:80")


def test_serve_says_in_one_line_that_no_host_is_called_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["serve", "run", "--host=ü..é"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ü..é port 8000 cannot be listened on (no host can be called so)")
