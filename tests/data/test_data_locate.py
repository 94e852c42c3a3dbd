"""Data sets by name: in the given folder, in the cache, or built by the recipe of their property file."""

import http.server
import json
import multiprocessing
import pickle
import shutil
import threading
import zipfile

import pytest
import yaml

from recbole_tme.data import locate
from recbole_tme.data.checks import audit
from recbole_tme.data.content import content_sha256
from recbole_tme.data.prepare import PrepareOptions, prepare
from recbole_tme.data.readers.atomic import read_dataset
from recbole_tme.data.readers.movielens import movielens_folder
from recbole_tme.errors import UserError
from recbole_tme.models.builtin import discovery
from recbole_tme.schema.property_files import properties_root
from recbole_tme.utils.installing import recbole_missing

TRAIN = [["a", "b", "c"], ["c", "a"]]
PREFIXES, TARGETS = [["a", "b"], ["a"], ["c"]], ["c", "b", "a"]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(locate.CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "datasets"


@pytest.fixture
def site(tmp_path):
    """A web site with one split as RecBole's zip of prefix rows, once well and once with other sessions, and as the
    field's two pickles."""
    folder = tmp_path / "site"
    folder.mkdir()
    header = "session_id:token\titem_id_list:token_seq\titem_id:token\n"
    rows = "".join(f"{k}\t{' '.join(p)}\t{t}\n" for k, (p, t) in enumerate(zip(PREFIXES, TARGETS)))
    for name, content in (("good", rows), ("other", rows.replace("b", "x"))):
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            for split in ("train", "test"):
                archive.writestr(f"s-session/s-session.{split}.inter", header + content)
    (folder / "broken.zip").write_bytes((folder / "good.zip").read_bytes()[:100])
    (folder / "all_train_seq.txt").write_bytes(pickle.dumps(TRAIN))
    (folder / "test.txt").write_bytes(pickle.dumps((PREFIXES, TARGETS)))
    fetched = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=folder)

        def log_request(self, *args):
            fetched.append(self.path)

        def log_message(self, *args):
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    httpd.url, httpd.fetched = f"http://127.0.0.1:{httpd.server_address[1]}", fetched
    yield httpd
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """Give a data set ``s`` a property file of its own."""
    root = tmp_path / "properties"
    (root / "dataset").mkdir(parents=True)
    monkeypatch.setattr(locate, "properties_root", lambda: root)

    def write(**values):
        (root / "dataset" / "s.yaml").write_text(yaml.safe_dump(values, sort_keys=False))

    return write


def zip_source(site, name, **more):
    return {"kind": "download", "files": [{"url": f"{site.url}/{name}.zip", **more}]}


def pickle_source(site):
    return {"kind": "download", "files": [{"url": f"{site.url}/{name}"} for name in ("all_train_seq.txt", "test.txt")]}


def as_lists(data):
    return [data.tokens[data.train[s]].tolist() for s in range(len(data.train))]


def test_the_given_folder_comes_first(tmp_path, cache):
    (tmp_path / "data" / "toy").mkdir(parents=True)
    assert locate.locate("toy", tmp_path / "data") == tmp_path / "data" / "toy"
    assert not cache.exists()


@pytest.mark.parametrize("name", ["toy", "ml100k-sessions"])
def test_embedded_sets_are_built_once_without_network(tmp_path, cache, name, monkeypatch):
    folder = locate.locate(name, tmp_path / "none", offline=True)
    assert folder == cache / name
    before = (folder / f"{name}.json").stat().st_mtime_ns
    monkeypatch.setattr(locate, "build", None)
    assert locate.locate(name, tmp_path / "none") == folder
    assert (folder / f"{name}.json").stat().st_mtime_ns == before
    data = read_dataset(folder, name)
    limit = yaml.safe_load((properties_root() / "dataset" / f"{name}.yaml").read_text())["MAX_ITEM_LIST_LENGTH"]
    result = audit(data)
    assert result["max_length"] <= limit and result["unseen_test_items"] == 0 and result["shared_session_ids"] == 0


def test_movielens_sessions_are_pauses_in_a_users_ratings(tmp_path, cache):
    name = "ml100k-sessions"
    data = read_dataset(locate.locate(name, tmp_path / "none"), name)
    rated = {}
    with open(movielens_folder() / "ml-100k.inter") as file:
        next(file)
        for line in file:
            user, item, _, time = line.split("\t")
            rated.setdefault(user, set()).add((item, float(time)))
    for sessions in (data.train, data.test):
        assert sessions.lengths.min() >= 2 and sessions.lengths.max() <= 20
        for s in range(0, len(sessions), 50):
            user = sessions.ids[s].rpartition("-")[0]
            times = sessions.times[sessions.offsets[s] : sessions.offsets[s + 1]]
            assert set(zip(data.tokens[sessions[s]], times)) <= rated[user]
    assert data.titles["1"] == "Toy Story"
    assert len(data.train) > 5000 and len(data.test) > 500


def test_download_first_source_that_works(tmp_path, cache, recipe, site, capsys):
    good = read_dataset(prepare(tmp_path / "site" / "good.zip", "s", tmp_path / "own"), "s")
    recipe(
        content_sha256=content_sha256(good),
        sources=[
            zip_source(site, "absent"),
            zip_source(site, "broken"),
            zip_source(site, "other"),
            pickle_source(site),
        ],
    )
    folder = locate.locate("s", tmp_path / "none")
    assert as_lists(read_dataset(folder, "s")) == TRAIN
    assert site.fetched == ["/absent.zip", "/broken.zip", "/other.zip", "/all_train_seq.txt", "/test.txt"]
    record = json.loads((folder / "s.json").read_text())
    assert [f["url"].rpartition("/")[2] for f in record["fetched"]] == ["all_train_seq.txt", "test.txt"]
    assert f"SHA-256 {record['fetched'][0]['sha256']}" in capsys.readouterr().err
    locate.locate("s", tmp_path / "none")
    assert len(site.fetched) == 5


def test_a_zip_and_the_pickles_hold_the_same(tmp_path, cache, recipe, site):
    sums = []
    for source in (zip_source(site, "good"), pickle_source(site)):
        recipe(sources=[source])
        sums.append(json.loads((locate.locate("s", tmp_path / "none") / "s.json").read_text())["content_sha256"])
    assert sums[0] == sums[1]


def test_no_source_works(tmp_path, cache, recipe, site):
    recipe(
        content_sha256="0" * 64,
        sources=[zip_source(site, "good", sha256="1" * 64), zip_source(site, "good"), zip_source(site, "absent")],
    )
    with pytest.raises(UserError) as caught:
        locate.locate("s", tmp_path / "none")
    message = str(caught.value)
    for words in ("wrong checksum", "other sessions than the standard split", "404"):
        assert words in message
    assert f"recbole-tme prepare good.zip --name s --out {tmp_path / 'none'}" in message and "\n" not in message
    assert not cache.exists()


def test_offline_says_what_to_do(tmp_path, cache, recipe, site):
    source = zip_source(site, "good") | {"prepare": {"user": "u", "session_gap": 1800, "test_days": 14}}
    recipe(sources=[source])
    with pytest.raises(UserError) as caught:
        locate.locate("s", "dataset_atomic", offline=True)
    message = str(caught.value)
    command = "recbole-tme prepare good.zip --name s --out dataset_atomic --user u --session-gap 1800 --test-days 14"
    assert f"fetch {site.url}/good.zip" in message and command in message
    assert site.fetched == []


def test_unknown_name_and_typo(tmp_path, cache):
    with pytest.raises(UserError, match=r"unknown data set 'tmal'; did you mean tmall\?"):
        locate.locate("tmal", tmp_path)
    (tmp_path / "my-shop").mkdir()
    with pytest.raises(UserError, match="did you mean my-shop"):
        locate.locate("myshop", tmp_path)
    with pytest.raises(UserError, match="recbole-tme prepare FILE --name xyz"):
        locate.locate("xyz", tmp_path)


@pytest.mark.parametrize("name", ["", "a/b", "..", "/etc"])
def test_a_path_is_no_name(tmp_path, cache, name):
    with pytest.raises(UserError, match="a name is expected"):
        locate.locate(name, tmp_path)


DAMAGES = {
    "no record": lambda folder: (folder / "toy.json").unlink(),
    "half a record": lambda folder: (folder / "toy.json").write_text('{"format_version"'),
    "a file missing": lambda folder: (folder / "toy.test.inter").unlink(),
    "empty folder": lambda folder: [path.unlink() for path in folder.iterdir()],
    "an older recipe": lambda folder: edit_record(folder, recipe="x"),
    "an older format": lambda folder: edit_record(folder, format_version=0),
}


def edit_record(folder, **values):
    record = json.loads((folder / "toy.json").read_text())
    (folder / "toy.json").write_text(json.dumps(record | values))


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_what_is_not_whole_or_of_today_is_built_anew(tmp_path, cache, damage):
    folder = locate.locate("toy", tmp_path / "none")
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    damage(folder)
    assert locate.locate("toy", tmp_path / "none") == folder
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole
    assert [path.name for path in cache.iterdir()] == ["toy"]


def locate_toy(start, data_path, results):
    start.wait()
    folder = locate.locate("toy", data_path)
    results.put(len(read_dataset(folder, "toy").train))


def test_processes_that_build_at_once_do_not_break_each_other(tmp_path, cache):
    context = multiprocessing.get_context("spawn")
    start, results = context.Event(), context.Queue()
    workers = [context.Process(target=locate_toy, args=(start, tmp_path / "none", results)) for _ in range(3)]
    for worker in workers:
        worker.start()
    start.set()
    sizes = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert sizes == [960] * 3 and [path.name for path in cache.iterdir()] == ["toy"]


def test_cache_that_cannot_be_written_names_the_remedy(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(locate.CACHE_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(UserError, match=f"cannot write.*set {locate.CACHE_VARIABLE}"):
        locate.locate("toy", tmp_path / "none")


def test_movielens_missing_from_the_install(tmp_path, cache, monkeypatch):
    def missing():
        raise UserError(recbole_missing())

    monkeypatch.setattr(discovery, "root", missing)
    with pytest.raises(UserError, match=r"cannot be built .*RecBole is not installed"):
        locate.locate("ml100k-sessions", tmp_path / "none")


@pytest.mark.parametrize("name", locate.known_datasets())
def test_property_files_can_be_followed(name):
    """Every source is of a known kind, with options that ``prepare`` knows."""
    recipe = yaml.safe_load((properties_root() / "dataset" / f"{name}.yaml").read_text(encoding="utf-8"))
    assert recipe["USER_ID_FIELD"] == "session_id" and recipe["ITEM_ID_FIELD"] == "item_id"
    for source in recipe["sources"]:
        assert source["kind"] in ("download", "movielens", "synthetic")
        options = source.get("prepare", {})
        # Whose pauses they are, a recipe may leave to its kind of source.
        PrepareOptions(**({"user": "any"} if "session_gap" in options else {}) | options)
        for file in source.get("files", []):
            assert file["url"].startswith("https://") and len(file.get("sha256", "0" * 64)) == 64


@pytest.mark.parametrize("name", ["tmall", "diginetica", "nowplaying"])
def test_standard_splits_have_the_content_checksum_of_their_recipe(shared_data, tmp_path, name):
    recipe = yaml.safe_load((properties_root() / "dataset" / f"{name}.yaml").read_text(encoding="utf-8"))
    folder = prepare(shared_data / name, name, tmp_path)
    assert json.loads((folder / f"{name}.json").read_text())["content_sha256"] == recipe["content_sha256"]
    shutil.rmtree(folder)


def test_all_the_names_of_the_field_are_known():
    expected = {"tmall", "diginetica", "nowplaying", "retailrocket", "yoochoose", "ml100k-sessions", "toy"}
    assert expected <= set(locate.known_datasets())
