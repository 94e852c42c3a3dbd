"""Plug-ins that are broken in every way: each costs one line that names the file and what to do, and leaves nothing."""

import re
from pathlib import Path

import pytest

from recbole_tme.cli import main
from recbole_tme.errors import PluginError
from recbole_tme.models import registry
from recbole_tme.models.plugins import plugin_to_blame
from recbole_tme.testing import check_model

# A sound model; each case replaces one of its parts. Its lines are counted in the cases.
SOUND = """\
import torch
from torch import nn
from recbole.utils import InputType
from recbole.model.abstract_recommender import GeneralRecommender, SequentialRecommender
from recbole_tme.models.base import Encoded, SessionRecommender
class Mine(SessionRecommender):
    defaults = {"n_layers": 2}
    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.size = config["n_layers"]
        self.reset_parameters()
    def encode(self, item_seq, item_seq_len):
        return self.item_embedding(item_seq).sum(1) / item_seq_len.unsqueeze(1)
"""
# The same for RecBole's own base class.
STOCK = """\
import torch
from torch import nn
from recbole.utils import InputType
from recbole.model.abstract_recommender import SequentialRecommender
class Mine(SequentialRecommender):
    input_type = InputType.POINTWISE
    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.table = nn.Embedding(self.n_items, 8, padding_idx=0)
    def scores(self, interaction):
        return self.table(interaction[self.ITEM_SEQ]).mean(1) @ self.table.weight.T
    def calculate_loss(self, interaction):
        return nn.functional.cross_entropy(self.scores(interaction), interaction[self.POS_ITEM_ID])
    def full_sort_predict(self, interaction):
        return self.scores(interaction)
"""
READ = 'config["n_layers"]'
RESULT = "self.item_embedding(item_seq).sum(1) / item_seq_len.unsqueeze(1)"
SCORES = "return self.scores(interaction)\n"
LOSS = "nn.functional.cross_entropy(self.scores(interaction), interaction[self.POS_ITEM_ID])"


def sound(old, new):
    assert old in SOUND
    return SOUND.replace(old, new)


def stock(old, new):
    assert old in STOCK
    return STOCK.replace(old, new)


def method(text):
    """The sound model with another method, from line 14 on."""
    return SOUND + text


INIT = "        self.size = config"
# What is wrong: the file's content, and what the line has to say.
FILES = {
    "syntax": ("def f(:\n", r"mine\.py:1: SyntaxError"),
    "null byte": ("x = '\0'\n", r"mine\.py.*SyntaxError|mine\.py.*ValueError"),
    "import raises": ("import torch\n\n1 / 0\n", r"mine\.py:3: ZeroDivisionError: division by zero"),
    "missing package": ("import nosuchpackage\n", r"mine\.py:1: ModuleNotFoundError"),
    "SystemExit": ("raise SystemExit(3)\n", r"mine\.py:1: SystemExit: 3"),
    "exit()": ("import sys\nsys.exit('bye')\n", r"mine\.py:2: SystemExit: bye"),
    "BaseException": ("class Odd(BaseException): pass\nraise Odd\n", r"mine\.py:2: Odd$"),
    "endless recursion": ("def f():\n    return f()\nf()\n", r"mine\.py:2: RecursionError"),
    "text of two lines": ("raise ValueError('one\\ntwo')\n", r"mine\.py:1: ValueError: one two$"),
    "text that raises": (
        "class Odd(Exception):\n    def __str__(self):\n        raise ValueError\nraise Odd\n",
        r"mine\.py:4: Odd$",
    ),
    "no model": ("x = 1\n", "defines no model"),
    "private model": (sound("class Mine", "class _Mine"), "defines no model"),
    "torch's base": ("from torch import nn\nclass Mine(nn.Module): pass\n", "Mine is derived from Module"),
    "other base": (
        "from recbole.model.abstract_recommender import GeneralRecommender\nclass Mine(GeneralRecommender): pass\n",
        "Mine is derived from GeneralRecommender",
    ),
    "our name": (sound("class Mine", "class TMEGNN"), "TMEGNN is taken by this package"),
    "defaults no dict": (sound('{"n_layers": 2}', "['n_layers']"), r"mine\.py: class Mine: defaults must be a dict"),
    "defaults no data": (sound('"n_layers": 2', '"n_layers": torch.ones(2)'), "n_layers must be a number.*Tensor"),
    "default out of range": (
        sound('"n_layers": 2', '"learning_rate": 1e6'),
        r"learning_rate must be float in \(0, 100",
    ),
    "no input_type": (stock("    input_type = InputType.POINTWISE\n", ""), "neither an input_type nor a loss_type"),
    "odd input_type": (stock("InputType.POINTWISE", "'pairwise'"), "input_type must be an InputType.*'pairwise'"),
}
CONSTRUCTION = {
    "undeclared key": (sound(READ, 'config["n_layerz"]'), r"mine\.py:10: .*Mine.*'n_layerz'.*did you mean n_layers\?"),
    "undeclared get": (sound(READ, 'config.get("n_layerz", 2)'), r"mine\.py:10: .*'n_layerz'"),
    "undeclared in": (sound(READ, '"n_layerz" in config'), r"mine\.py:10: .*'n_layerz'"),
    "undeclared attribute": (sound(READ, 'getattr(config, "n_layerz", 2)'), r"mine\.py:10: .*'n_layerz'"),
    "undeclared, caught": (
        sound(INIT, "        try: config['zzz']\n        except Exception: pass\n" + INIT),
        r"mine\.py:10: .*'zzz'.*declare it in Mine\.yaml",
    ),
    "__init__ raises": (
        sound(INIT, "        raise ValueError('no')\n" + INIT),
        r"mine\.py:10: class Mine: ValueError: no$",
    ),
    "SystemExit": (sound(INIT, "        raise SystemExit(0)\n" + INIT), r"mine\.py:10: class Mine: SystemExit: 0$"),
    "a tensor too large": (
        sound(INIT, "        torch.empty(2**59)\n" + INIT),
        r"mine\.py:10: class Mine: (out of memory|RuntimeError)",
    ),
    "wrong signature": (
        sound("self, config, dataset):", "self, config):"),
        r"mine\.py: class Mine: TypeError.*__init__",
    ),
    "no super().__init__": (
        sound("super().__init__(config, dataset)", "self.layer = nn.Linear(2, 2)"),
        r"mine\.py:9: class Mine: AttributeError",
    ),
    "wrong argument": (sound(INIT, "        nn.Linear('a', 2)\n" + INIT), r"mine\.py:10: class Mine: TypeError"),
    "nothing to train": (
        stock("nn.Embedding(self.n_items, 8, padding_idx=0)", "None"),
        "Mine has no parameters to train",
    ),
    "no loss": (stock("def calculate_loss", "def loss"), "Mine does not define calculate_loss"),
    "no prediction": (
        stock("def full_sort_predict", "def scoring"),
        "Mine does not define full_sort_predict or predict",
    ),
}
TRAINING = {
    "no encode": (sound("def encode", "def encoder"), "class Mine: NotImplementedError: Mine must implement encode"),
    "encode raises": (sound(RESULT, "[][3]"), r"mine\.py:13: class Mine: IndexError: list index out of range$"),
    "shapes do not fit": (
        sound(RESULT, "torch.ones(2, 3) @ item_seq.float()"),
        r"mine\.py:13: class Mine: RuntimeError",
    ),
    "one vector": (
        sound(RESULT, "self.item_embedding(item_seq).sum((0, 1))"),
        r"class Mine: .*encode returned \(100,\)",
    ),
    "vectors of clicks": (
        sound(RESULT, "self.item_embedding(item_seq)"),
        r"encode returned \(\d+, \d+, 100\), expected",
    ),
    "wrong size": (
        sound(RESULT, "self.item_embedding(item_seq).sum(1)[:, 1:]"),
        r"encode returned \(\d+, 99\), expected",
    ),
    "encode returns None": (sound(RESULT, "None"), r"encode returned \('NoneType',\), expected session vectors"),
    "encode returns a tuple": (sound(RESULT, "(item_seq, 1)"), r"encode returned \('tuple',\), expected"),
    "Encoded of nothing": (sound(RESULT, "Encoded(None)"), r"encode returned \('NoneType',\), expected"),
    "no gradient": (
        SOUND + "    def recommendation_loss(self, e, target):\n        return e.session.sum().detach(), target\n",
        "the loss depends on no parameter",
    ),
    "no dict of losses": (
        method("    def auxiliary_losses(self, e, r):\n        return e.session.sum()\n"),
        "auxiliary_losses returned Tensor",
    ),
    "begin_epoch raises": (
        method("    def begin_epoch(self, epoch):\n        self.no\n"),
        r"mine\.py:15: class Mine: AttributeError",
    ),
    "second backward": (
        method(
            "    kept = None\n"
            "    def auxiliary_losses(self, e, r):\n"
            "        self.kept = e.session.sum() if self.kept is None else self.kept\n"
            "        return {'x': (self.kept ** 2).sum()}\n"
        ),
        r"mine\.py: class Mine: RuntimeError: .*backward.*\(raised in ",
    ),
    "loss is None": (stock(LOSS, "None"), "the recommendation loss is of NoneType, expected a tensor of one number"),
    "loss is a word": (stock(LOSS, "'small'"), "the recommendation loss is of str, expected"),
    "loss per instance": (
        stock(LOSS, "self.scores(interaction)[:, 0]"),
        r"the recommendation loss is of shape \(\d+,\)",
    ),
    "scores are None": (stock(SCORES, "return None\n"), "Mine gave NoneType scores for"),
    "scores too few": (stock(SCORES, "return self.scores(interaction)[:, 1:]\n"), r"Mine gave \(\d+, 80\) scores for"),
    "scores turned": (stock(SCORES, "return self.scores(interaction).T\n"), r"Mine gave \(81, \d+\) scores for"),
    "scores raise": (stock(SCORES, "return interaction['nothing']\n"), r"mine\.py:15: class Mine: KeyError"),
    "SystemExit": (stock(SCORES, "raise SystemExit\n"), r"mine\.py:15: class Mine: SystemExit$"),
}
# Diverged models leave the log of their training.
DIVERGED = {
    "NaN": (
        sound(RESULT, f"({RESULT}) * float('nan')"),
        "the recommendation loss became nan in epoch 1.*lower learning_rate",
    ),
    "infinite": (stock(LOSS, f"{LOSS} + float('inf')"), "the recommendation loss became inf"),
    "scores of NaN": (stock(SCORES, "return self.scores(interaction) * float('nan')\n"), "scores hold NaN"),
}
ALL = {
    f"{kind}: {name}": (*case, kind)
    for kind, cases in (("file", FILES), ("construction", CONSTRUCTION), ("training", TRAINING), ("diverged", DIVERGED))
    for name, case in cases.items()
}


@pytest.fixture(autouse=True)
def clean(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(capsys, text, *settings, plugin="mine.py") -> tuple[int, str]:
    """Exit code of a run with a plug-in of this text, and its last line on stderr."""
    if text is not None:
        Path("mine.py").write_text(text)
    settings = settings or ("--epochs=1",)
    code = main([f"--plugin={plugin}", "--model=Mine", "--dataset=toy", "--show_progress=False", *settings])
    said = capsys.readouterr()
    assert "Traceback" not in said.err and said.err.count("error: ") <= 1
    return code, (said.err.splitlines() or [""])[-1]


@pytest.mark.parametrize("case", ALL)
def test_a_broken_plugin_costs_one_line_and_leaves_nothing(capsys, case):
    text, message, kind = ALL[case]
    code, line = run(capsys, text)
    assert code == 2, line
    assert line.startswith("error: ") and re.search(message, line), line
    if kind != "diverged":
        assert {path.name for path in Path().iterdir()} - {"__pycache__"} == {"mine.py"}
        assert "mine.py" in line or "model Mine" in line


@pytest.mark.parametrize("text", [SOUND, STOCK])
def test_the_model_that_is_broken_is_sound(capsys, text):
    code, line = run(capsys, text)
    assert code == 0, line


@pytest.mark.parametrize(
    ("plugin", "message"),
    [("none.py", "none.py does not exist"), (".", "is no file"), ("mine.txt", r"must end in \.py")],
)
def test_what_is_no_python_file(capsys, plugin, message):
    Path("mine.txt").write_text(SOUND)
    code, line = run(capsys, None, plugin=plugin)
    assert code == 2 and re.search(message, line)


@pytest.mark.parametrize(
    ("yaml", "settings", "message"),
    [
        ("rate: 0.5  # (float) [0, 1) Share.", ["--rate=1"], r"rate must be float in \[0, 1\), not 1"),
        ("rate: 1.5  # (float) [0, 1) Share.", [], r"Mine\.yaml:1: rate must be float in \[0, 1\), not 1\.5"),
        ("word: a  # (str) {a, b} Word.", ["--word=c"], "word must be one of a, b, not 'c'"),
        ("n: 2  # (int) {1, 2} Number.", ["--n=3"], "n must be one of 1, 2, not 3"),
        ("rate: 0.5  # (number) Share.", [], r"Mine\.yaml:1: rate: \(number\) is no type"),
        ("rate: 0.5  # (float) [0, x) Share.", [], r"Mine\.yaml:1: rate: \[0, x\) is no range"),
        ("hidden_size: 4", ["--hidden_size=0"], r"hidden_size must be .* in \[1, 65536\], not 0"),
        ("learning_rate: 200", [], r"Mine\.yaml:1: learning_rate must be float in \(0, 100\]"),
        ("learning_rate: 0.1  # (float) Rate.", ["--learning_rate=200"], r"learning_rate must be float in \(0, 100\]"),
        ("learning_rate: 0.1", ["--learning_rate=200"], r"learning_rate must be float in \(0, 100\]"),
        ("1: 2", [], r"Mine\.yaml:1: the key '1' is not a name"),
        ("? [a]\n: 1", [], r"Mine\.yaml:1: "),
        ("- a", [], r"Mine\.yaml must hold key: value lines"),
        ("a: [", [], r"Mine\.yaml:\d: not valid YAML"),
        ("a: 1\na: 2", [], r"Mine\.yaml:2: not valid YAML: key 'a' is given twice"),
    ],
)
def test_the_file_beside_a_plugin_is_checked_and_enforced(capsys, yaml, settings, message):
    Path("Mine.yaml").write_text(f"{yaml}\n")
    code, line = run(capsys, SOUND, *settings)
    assert code == 2 and re.search(message, line), line
    assert not Path("runs").exists()


def test_the_traceback_of_a_plugin_that_fails_later_is_in_the_log(capsys):
    later = "    def begin_epoch(self, epoch):\n        assert epoch < 1, 'so late'\n"
    code, line = run(capsys, SOUND + later, "--epochs=3")
    assert code == 2
    assert "so late" in line
    found = re.search(r"mine\.py:15: class Mine: AssertionError: so late; the traceback is in (\S+)$", line)
    log = Path(found[1]).read_text()
    assert "Traceback (most recent call last)" in log and "assert epoch < 1, 'so late'" in log


def test_a_plugin_that_fails_while_its_first_epoch_is_kept_leaves_nothing(capsys):
    """The history is written by then, but there is no checkpoint to go on from."""
    code, line = run(capsys, SOUND + "    def other_parameter(self):\n        raise ValueError('not me')\n")
    assert code == 2 and re.search(r"mine\.py:15: class Mine: ValueError: not me$", line), line
    assert not Path("runs").exists()


def test_what_a_plugin_raised_is_the_cause_of_the_error():
    Path("mine.py").write_text(CONSTRUCTION["__init__ raises"][0])
    registry.load_plugin("mine.py")
    with pytest.raises(PluginError) as caught:
        check_model("Mine")
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_plugin_is_blamed_for_what_it_raises_anywhere():
    Path("mine.py").write_text(SOUND.replace(RESULT, "[][3]"))
    registry.load_plugin("mine.py")
    mine = registry.resolve("Mine")
    try:
        mine.encode(None, None, None)
    except IndexError as error:
        blamed = plugin_to_blame(error)
    assert re.search(r"mine\.py:13: IndexError: list index out of range$", str(blamed))
    assert isinstance(blamed, PluginError) and isinstance(blamed.__cause__, IndexError)
    assert plugin_to_blame(IndexError("of another's")) is None


def test_check_model_refuses_a_key_that_nothing_declares():
    Path("mine.py").write_text(CONSTRUCTION["undeclared key"][0])
    registry.load_plugin("mine.py")
    with pytest.raises(PluginError, match=r"mine\.py:10: .*'n_layerz'.*did you mean n_layers\?"):
        check_model("Mine")


def test_models_derived_from_recboles_may_ask_for_its_undeclared_keys(capsys):
    text = (
        "from recbole.model.sequential_recommender.gru4rec import GRU4Rec\n"
        "class Mine(GRU4Rec):\n"
        "    defaults = {'hidden_size': 8, 'embedding_size': 8}\n"
    )
    code, line = run(capsys, text)
    assert code == 0, line
