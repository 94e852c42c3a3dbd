"""Names to classes: ours, plugins, entry points, RecBole's; and every way to get them wrong."""

import importlib
import multiprocessing
import sys

import pytest

from recbole_tme.config.load import load_config
from recbole_tme.errors import UserError
from recbole_tme.models import registry
from recbole_tme.models.builtin import discovery
from recbole_tme.recbole_patches import hooks

MODEL = """
import torch
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType

class {name}(SequentialRecommender):
    '''Popularity of the last click's successors.

    More text.
    '''
    input_type = InputType.POINTWISE
    defaults = {{"embedding_size": 4, "scale": 0.5}}

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.scale = config["scale"]
"""


@pytest.fixture(autouse=True)
def no_foreign_modules():
    """Modules of one test are not seen by the next."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith((f"{discovery.PACKAGE}.tiny", "tiny_package")):
            del sys.modules[name]


def write_plugin(folder, name="TinyPop", file="tiny.py", text=MODEL):
    path = folder / file
    path.write_text(text.format(name=name) if "{name}" in text else text)
    return path


def install_package(folder, monkeypatch, entries, name="tiny-package"):
    """An installed distribution with entry points, as far as importlib.metadata can tell."""
    site = folder / name
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = "\n".join(f"{key} = {value}" for key, value in entries.items())
    (info / "entry_points.txt").write_text(f"[recbole_tme.models]\n{lines}\n")
    (site / "tiny_package.py").write_text(MODEL.format(name="TinyEntry"))
    monkeypatch.syspath_prepend(site)
    importlib.invalidate_caches()


def test_our_model_is_one_class_everywhere():
    from recbole.model.sequential_recommender.tmegnn import TMEGNN as as_recbole_finds_it
    from recbole.utils import get_model

    from recbole_tme.models.tmegnn import TMEGNN

    assert registry.resolve("TMEGNN") is TMEGNN
    assert get_model("TMEGNN") is TMEGNN
    assert as_recbole_finds_it is TMEGNN


def test_builtin_models_by_both_names():
    from recbole.model.sequential_recommender import SRGNN, GRU4Rec

    assert registry.resolve("GRU4Rec") is GRU4Rec
    assert registry.resolve("recbole:GRU4Rec") is GRU4Rec
    assert registry.resolve("recbole:SRGNN") is SRGNN
    assert registry.registered_name(GRU4Rec) == "recbole:GRU4Rec"


def test_our_srgnn_would_not_shadow_recboles(tmp_path, monkeypatch):
    from recbole.model.sequential_recommender import SRGNN
    from recbole.utils import get_model

    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "tiny_package.py").write_text(MODEL.format(name="SRGNN"))
    monkeypatch.setitem(registry.OUR_MODELS, "SRGNN", "tiny_package:SRGNN")
    ours = registry.resolve("SRGNN")
    assert ours.__module__ == "tiny_package"
    assert registry.resolve("recbole:SRGNN") is SRGNN is get_model("SRGNN")
    module = f"{discovery.PACKAGE}.srgnn"
    loaded = sys.modules.pop(module)
    try:
        assert importlib.import_module(module).SRGNN.__module__ == module
    finally:
        sys.modules[module] = loaded


def test_finder_is_installed_once():
    before = list(sys.meta_path)
    hooks.install()
    assert sys.meta_path == before
    assert sum(isinstance(finder, hooks.RecBoleFinder) for finder in sys.meta_path) == 1


def test_finder_answers_for_models_only():
    finder = next(finder for finder in sys.meta_path if isinstance(finder, hooks.RecBoleFinder))
    package = importlib.import_module(discovery.PACKAGE)
    assert finder.find_spec(f"{discovery.PACKAGE}.tmegnn", package.__path__) is not None
    for name in ("nosuchmodel", "srgnn", "tmegnn.layers"):
        assert finder.find_spec(f"{discovery.PACKAGE}.{name}", package.__path__) is None
    assert finder.find_spec("recbole.model.general_recommender.tmegnn", None) is None
    assert finder.find_spec("json", None) is None


def test_patched_modules_keep_their_loader_and_source():
    import inspect

    from recbole.trainer import trainer

    assert isinstance(trainer.__spec__.loader, importlib.machinery.SourceFileLoader)
    assert "class Trainer" in inspect.getsource(trainer)


def test_plugin_is_found_by_us_and_by_recbole(tmp_path):
    from recbole.utils import get_model

    path = write_plugin(tmp_path)
    assert registry.load_plugin(path) == ["TinyPop"]
    assert registry.load_plugin(str(path)) == ["TinyPop"]
    model = registry.resolve("TinyPop")
    assert get_model("TinyPop") is model
    assert registry.plugin_file(model) == path.resolve()
    info = next(info for info in registry.list_models() if info.name == "TinyPop")
    assert (info.origin, info.description) == ("plugin", "Popularity of the last click's successors.")


def test_plugin_defaults_come_from_the_class_and_from_the_file_beside_it(tmp_path):
    path = write_plugin(tmp_path)
    (tmp_path / "TinyPop.yaml").write_text("scale: 0.25  # (float) Scale.\n")
    config = load_config("TinyPop", "toy", overrides={"plugin": str(path), "device": "cpu"})
    assert (config["embedding_size"], config["scale"]) == (4, 0.25)
    with pytest.raises(UserError, match=r"unknown key 'scal'; did you mean scale\?"):
        load_config("TinyPop", "toy", config_dict={"scal": 1})
    with pytest.raises(UserError, match="scale must be float"):
        load_config("TinyPop", "toy", config_dict={"scale": "big"})


def test_a_derived_model_inherits_settings(tmp_path):
    text = "from recbole_tme.models.tmegnn import TMEGNN\n\nclass TinyChild(TMEGNN):\n    defaults = {'n_layers': 2}\n"
    path = write_plugin(tmp_path, text=text)
    config = load_config("TinyChild", "toy", overrides={"plugin": [str(path)], "device": "cpu"})
    parent = load_config("TMEGNN", "toy", config_dict={"device": "cpu"})
    assert config["n_layers"] == 2
    assert config["triplet_margin"] == parent["triplet_margin"]
    assert config.plain()["plugin"] == [str(path)]


def test_plugin_imports_and_private_classes_are_not_its_models(tmp_path):
    text = MODEL.format(name="TinyPop") + "\nclass _Base(TinyPop):\n    pass\n\nAlias = TinyPop\n"
    assert registry.load_plugin(write_plugin(tmp_path, text=text)) == ["TinyPop"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(:\n", r"broken\.py:1: SyntaxError"),
        ("import torch\n\n1 / 0\n", r"broken\.py:3: ZeroDivisionError: division by zero"),
        ("import json\njson.loads('{')\n", r"broken\.py:2: JSONDecodeError"),
        ("import nosuchpackage\n", r"broken\.py:1: ModuleNotFoundError: No module named 'nosuchpackage'"),
        ("raise SystemExit(3)\n", r"broken\.py:1: SystemExit: 3"),
        ("x = 1\n", "defines no model"),
        (MODEL.format(name="TMEGNN"), "TMEGNN is taken by this package"),
    ],
)
def test_broken_plugin_names_its_line(tmp_path, text, message):
    path = write_plugin(tmp_path, file="broken.py", text=text)
    for _ in range(2):
        with pytest.raises(UserError, match=message):
            registry.load_plugin(path)
    assert registry.external_names() == [*registry.OUR_MODELS]


def test_missing_and_foreign_plugin_files(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.py does not exist"):
        registry.load_plugin(tmp_path / "nothing.py")
    (tmp_path / "model.txt").write_text("x = 1")
    with pytest.raises(UserError, match=r"must end in \.py"):
        registry.load_plugin(tmp_path / "model.txt")


def test_plugins_may_not_share_a_name(tmp_path):
    first = write_plugin(tmp_path)
    registry.load_plugin(first)
    with pytest.raises(UserError, match=rf"TinyPop is taken by .*{first.name}"):
        registry.load_plugin(write_plugin(tmp_path, file="tiny_other.py"))
    (tmp_path / "sub").mkdir()
    with pytest.raises(UserError, match="a plugin called tiny is loaded already"):
        registry.load_plugin(write_plugin(tmp_path / "sub", name="TinyElse"))


def test_entry_point_model(tmp_path, monkeypatch):
    from recbole.utils import get_model

    install_package(tmp_path, monkeypatch, {"TinyEntry": "tiny_package:TinyEntry"})
    model = registry.resolve("TinyEntry")
    assert model.__module__ == "tiny_package"
    assert get_model("TinyEntry") is model
    assert ("TinyEntry", "entry point") in {(info.name, info.origin) for info in registry.list_models()}
    with pytest.raises(UserError, match="TinyEntry is taken by an installed package"):
        registry.load_plugin(write_plugin(tmp_path, name="TinyEntry"))


@pytest.mark.parametrize(
    ("entries", "name", "message"),
    [
        ({"TinyBroken": "tiny_package:Nothing"}, "TinyBroken", "tiny-package .* cannot be imported: AttributeError"),
        ({"TinyBroken": "tiny_missing:X"}, "TinyBroken", "cannot be imported: ModuleNotFoundError"),
        ({"TinyBroken": "tiny_package:torch"}, "TinyBroken", "not a subclass of RecBole's SequentialRecommender"),
        ({"TinyBroken": "tiny_package:TinyEntry"}, "TinyBroken", "entry point and class need one name"),
    ],
)
def test_broken_entry_point(tmp_path, monkeypatch, entries, name, message):
    install_package(tmp_path, monkeypatch, entries)
    with pytest.raises(UserError, match=message):
        registry.resolve(name)
    description = next(info.description for info in registry.list_models() if info.name == name)
    assert description.startswith("broken: ")


def test_entry_points_may_not_share_a_name(tmp_path, monkeypatch):
    install_package(tmp_path, monkeypatch, {"TinyEntry": "tiny_package:TinyEntry"})
    install_package(tmp_path, monkeypatch, {"TinyEntry": "tiny_other:TinyEntry"}, name="other-package")
    with pytest.raises(UserError, match=r"more than one package \(other-package, tiny-package\)"):
        registry.resolve("TinyEntry")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tmegnn", r"unknown model 'tmegnn'; did you mean TMEGNN\?"),
        ("TMGNN", r"did you mean TMEGNN\?"),
        ("srgnn", r"did you mean SRGNN\?"),
        ("recbole:srgnn", r"did you mean SRGNN\?"),
        ("recbole:TMEGNN", "unknown model"),
        ("qqqqqqqq", "recbole-tme list models"),
        ("", "unknown model"),
        ("../tmegnn", "unknown model"),
        ("LightGCN", "not a sequential model"),
        ("GRU4RecF", "item features"),
        ("recbole:KSR", "knowledge graph"),
        ("S3Rec", "pre-training"),
        ("DIEN", "labelled candidate"),
        ("HGN", "vector per user"),
    ],
)
def test_names_that_are_no_session_models(name, message):
    with pytest.raises(UserError, match=message):
        registry.resolve(name)


def test_refused_models_exist_and_the_list_leaves_them_out():
    listed = {info.name for info in registry.list_models()}
    assert set(discovery.REFUSED) <= set(discovery.sequential_models())
    assert not listed & set(discovery.REFUSED)
    assert {"TMEGNN", "SRGNN", "GRU4Rec", "NARM", "STAMP", "SASRec", "GCSAN", "CORE"} <= listed
    assert all(info.description for info in registry.list_models())


def test_every_listed_model_has_a_configuration():
    for info in registry.list_models():
        config = load_config(info.name, "toy", config_dict={"device": "cpu"})
        assert config["model"] == info.name.removeprefix("recbole:")
        assert registry.resolve(config.registered_name) is config.model_class


def _name_of(config, queue):
    queue.put((config["model"], config.model_class.__name__, config.plain()))


def test_spawned_process_gets_a_plugins_configuration(tmp_path):
    path = write_plugin(tmp_path)
    config = load_config("TinyPop", "toy", overrides={"plugin": str(path), "device": "cpu"})
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    child = context.Process(target=_name_of, args=(config, queue))
    child.start()
    assert queue.get(timeout=120) == ("TinyPop", "TinyPop", config.plain())
    child.join()
    assert child.exitcode == 0
