"""Downloads against a server on this machine: a whole file, checked, or one clear line and nothing left behind."""

import hashlib
import http.server
import socket
import stat
import threading
import zipfile

import pytest

from recbole_tme.data.download import download, extract_zip
from recbole_tme.errors import UserError

BODY = b"session " * 100_000


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        if self.path != "/unknown-length":
            extra = 1000 if self.path == "/broken" else 0
            self.send_header("Content-Length", str(len(BODY) + extra))
        self.end_headers()
        self.wfile.write(BODY[: len(BODY) // 2] if self.path == "/silent" else BODY)
        if self.path == "/silent":
            self.server.release.wait(20)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.release = threading.Event()
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_address[1]}"
    httpd.release.set()
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture
def folder(tmp_path):
    target = tmp_path / "in"
    target.mkdir()
    return target


@pytest.mark.parametrize("path", ["/whole", "/unknown-length"])
def test_whole_file(server, folder, path):
    expected = hashlib.sha256(BODY).hexdigest()
    assert download(server + path, folder / "f", expected) == expected
    assert (folder / "f").read_bytes() == BODY
    assert download(server + path, folder / "g") == expected
    assert sorted(p.name for p in folder.iterdir()) == ["f", "g"]


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/x"


@pytest.mark.parametrize(
    "path,sha256,words",
    [
        ("/broken", None, ["broke off", f"{len(BODY)} of {len(BODY) + 1000} bytes", "try again"]),
        ("/silent", None, ["broke off", "timed out"]),
        ("/whole", "0" * 64, ["wrong checksum", "0" * 64, hashlib.sha256(BODY).hexdigest()]),
        ("/missing", None, ["404"]),
        (None, None, ["cannot be reached"]),
    ],
)
def test_what_can_go_wrong(server, folder, path, sha256, words):
    url = closed_port() if path is None else server + path
    (folder / "f").write_text("an older file")
    with pytest.raises(UserError) as caught:
        download(url, folder / "f", sha256, timeout=0.5)
    message = str(caught.value)
    assert url in message and "\n" not in message
    for word in words:
        assert word in message, message
    assert [p.name for p in folder.iterdir()] == ["f"] and (folder / "f").read_text() == "an older file"


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://x/y", "/x"])
def test_other_kinds_of_address(folder, url):
    with pytest.raises(UserError, match="not an http or https address"):
        download(url, folder / "f")


def test_zip_is_unpacked(tmp_path, folder):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x/y.txt", "inside")
    extract_zip(tmp_path / "a.zip", folder)
    assert (folder / "x" / "y.txt").read_text() == "inside"


@pytest.mark.parametrize("member", ["../evil", "x/../../evil", "/evil", "..\\evil", "C:/evil"])
def test_zip_member_outside_its_folder(tmp_path, folder, member):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("good", "1")
        archive.writestr(member, "2")
    with pytest.raises(UserError, match="outside its folder"):
        extract_zip(tmp_path / "a.zip", folder)
    assert list(folder.iterdir()) == [] and sorted(p.name for p in tmp_path.iterdir()) == ["a.zip", "in"]


def test_zip_member_that_is_a_link(tmp_path, folder):
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/hostname")
    with pytest.raises(UserError, match="is a link"):
        extract_zip(tmp_path / "a.zip", folder)


def test_damaged_zip(tmp_path, folder):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x", "some text that is stored as it is")
    whole = (tmp_path / "a.zip").read_bytes()
    for damaged in (b"", b"no zip", whole[:-10], whole.replace(b"some", b"same")):
        (tmp_path / "a.zip").write_bytes(damaged)
        with pytest.raises(UserError, match=r"a\.zip: a damaged or incomplete zip file"):
            extract_zip(tmp_path / "a.zip", folder)
