"""Search spaces: every one that comes with the package, draws inside the ranges, conditions, and bad files."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_tme.config.load import load_config
from recbole_tme.errors import UserError
from recbole_tme.schema.property_files import properties_root
from recbole_tme.tuning import SEARCHES
from recbole_tme.tuning.search import make_search
from recbole_tme.tuning.space import load_space

SPACES = sorted((properties_root() / "space").glob("*.yaml"))
MIXED = """\
n_layers: {quniform: [1, 5, 2]}
dropout_prob: {uniform: [0.0, 0.5]}
learning_rate: {loguniform: [1e-4, 1e-1]}
triplet_weight: {choice: [0.0, 0.001, 0.1]}
triplet_margin: {choice: [0.25, 0.5], unless: {triplet_weight: 0.0}}
rank_low: {choice: [5, 10], when: {triplet_weight: [0.1], triplet_margin: 0.5}}
"""
DISCRETE = "".join(line + "\n" for line in MIXED.splitlines() if "uniform: [0" not in line and "log" not in line)


@pytest.fixture(scope="module")
def config():
    return load_config("TMEGNN", "toy")


@pytest.fixture
def space_of(tmp_path, config):
    def read(text: str):
        (tmp_path / "space.yaml").write_text(text)
        return load_space(config, tmp_path / "space.yaml")

    return read


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_each_space_that_comes_with_the_package_fits_its_model(path):
    config = load_config(path.stem.replace("recbole-", "recbole:"), "toy")
    space = load_space(config)
    assert space.source == path and space.parameters
    for parameter in space.parameters:
        if parameter.kind == "choice" and not parameter.conditions:
            assert config[parameter.name] in parameter.values or len(parameter.values) > 1
    chosen = space.choose(lambda parameter: parameter.draw(random.Random(0)))
    load_config(config.registered_name, "toy", config_dict=chosen)


@pytest.mark.parametrize("model", ["SRGNN", "GCSAN", "NARM", "GRU4Rec", "SASRec", "STAMP", "CORE"])
def test_recboles_baselines_have_a_space(model):
    assert (properties_root() / "space" / f"recbole-{model}.yaml").is_file()


def check_inside(chosen: dict) -> None:
    assert chosen["n_layers"] in (1, 3, 5) and type(chosen["n_layers"]) is int
    assert 0 <= chosen["dropout_prob"] <= 0.5 and 1e-4 <= chosen["learning_rate"] <= 1e-1
    assert ("triplet_margin" in chosen) == (chosen["triplet_weight"] > 0)
    assert ("rank_low" in chosen) == (chosen["triplet_weight"] == 0.1 and chosen.get("triplet_margin") == 0.5)


@pytest.mark.parametrize("name", [name for name in SEARCHES if name != "grid"])
def test_searches_stay_inside_and_respect_conditions(name, space_of):
    if name != "random":
        pytest.importorskip(name)
    space = space_of(MIXED)
    search = make_search(name, space, seed=3)
    seen = []
    for number in range(60):
        chosen = search.suggest()
        check_inside(chosen)
        seen.append(chosen)
        score = None if number % 7 == 6 else chosen["dropout_prob"]
        search.tell(chosen, score, 1 if number % 3 == 0 else None)
    assert len({tuple(sorted(chosen.items())) for chosen in seen}) > 40
    # What another process's study found is taken over, and is learnt from.
    again = make_search(name, space, seed=3, begun=len(seen))
    for chosen in seen:
        again.tell(chosen, chosen["dropout_prob"], None)
    later = [again.suggest() for _ in range(20)]
    for chosen in later:
        check_inside(chosen)
    if name != "random":
        # Chance alone has a mean of 0.25.
        assert sum(c["dropout_prob"] for c in later) / len(later) > 0.3


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_random_draws_depend_on_the_seed_alone(seed):
    path = next(path for path in SPACES if path.stem == "TMEGNN")
    space = load_space(load_config("TMEGNN", "toy"), path)
    one, two = (make_search("random", space, seed) for _ in range(2))
    draws = [one.suggest() for _ in range(3)]
    assert draws == [two.suggest() for _ in range(3)]
    assert make_search("random", space, seed, begun=2).suggest() == draws[2]


def test_a_grid_has_every_active_combination_once(space_of):
    space = space_of(DISCRETE)
    search = make_search("grid", space, seed=0)
    found = list(itertools.takewhile(lambda chosen: chosen is not None, iter(search.suggest, "never")))
    # triplet_weight 0; 0.001 with two margins; 0.1 with margin 0.25, and with 0.5 and two values of rank_low.
    assert len(found) == 3 * (1 + 2 + 1 + 2) == search.size
    assert len({tuple(sorted(chosen.items())) for chosen in found}) == len(found)
    assert make_search("grid", space, seed=0, begun=2).suggest() == found[2]


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_a_population_moves_real_values_inside_their_ranges(seed):
    generator = random.Random(seed)
    space = load_space(load_config("recbole:CORE", "toy"))
    chosen = space.choose(lambda parameter: parameter.draw(generator))
    moved = space.perturb(chosen, generator)
    assert moved.keys() == chosen.keys()
    for parameter in space.parameters:
        if parameter.name in moved and parameter.kind == "choice":
            assert moved[parameter.name] in parameter.values
    assert (0.03 <= moved["temperature"] <= 0.2 and moved["temperature"] != chosen["temperature"]) or (
        chosen["temperature"] in (0.03, 0.2)
    )
    for name in ("embedding_size", "dnn_type", "n_layers"):
        assert moved.get(name) == chosen.get(name)


def test_a_continuous_range_has_no_grid(space_of):
    with pytest.raises(UserError, match="learning_rate"):
        make_search("grid", space_of("learning_rate: {loguniform: [1e-4, 1e-2]}"), 0)


def test_fixed_keys_leave_the_space_and_decide_conditions(space_of):
    space = space_of(DISCRETE)
    assert [p.name for p in space.without({"triplet_weight": 0.0}).parameters] == ["n_layers"]
    some = space.without({"triplet_weight": 0.1})
    assert [p.name for p in some.parameters] == ["n_layers", "triplet_margin", "rank_low"]
    assert all("triplet_margin" in chosen for chosen in some.grid())
    with pytest.raises(UserError, match="fixed"):
        space_of("n_layers: {choice: [1, 2]}").without({"n_layers": 1})


@pytest.mark.parametrize(
    ("line", "best", "side"),
    [
        ("learning_rate: {loguniform: [1e-4, 1e-2]}", 1e-2, "highest"),
        ("learning_rate: {loguniform: [1e-4, 1e-2]}", 1.05e-4, "lowest"),
        ("learning_rate: {loguniform: [1e-4, 1e-2]}", 1e-3, None),
        ("learning_rate: {choice: [0.001, 0.002, 0.004]}", 0.004, "highest"),
        ("learning_rate: {choice: [0.001, 0.002]}", 0.002, None),
        ("dropout_prob: {uniform: [0.0, 0.5]}", 0.0, None),
        ("dropout_prob: {uniform: [0.0, 0.5]}", 0.499, "highest"),
        ("n_layers: {quniform: [1, 4, 1]}", 1, None),
        ("n_layers: {quniform: [1, 4, 1]}", 4, "highest"),
        ("loss_precision: {choice: [fp32, bf16, auto]}", "auto", None),
    ],
)
def test_a_best_value_on_a_border_is_warned_of_unless_the_key_ends_there(line, best, side, space_of):
    space = space_of(line)
    warnings = space.warnings({space.parameters[0].name: best})
    assert len(warnings) == (side is not None)
    assert all(side in warning and space.parameters[0].name in warning for warning in warnings)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("learning_rat: {choice: [1]}", "did you mean learning_rate"),
        ("run_dir: {choice: [a]}", "cannot be tuned"),
        ("seed: {choice: [1, 2]}", "cannot be tuned"),
        ("n_layers: [1, 2]", "choice"),
        ("n_layers: {choice: []}", "empty"),
        ("n_layers: {choice: 3}", "choice takes"),
        ("n_layers: {choise: [1]}", "needs one of"),
        ("n_layers: {choice: [1], quniform: [1, 2, 1]}", "needs one of"),
        ("n_layers: {choice: [1], whem: {epochs: 1}}", "did you mean when"),
        ("n_layers: {choice: [1, two]}", "int"),
        ("n_layers: {choice: [0]}", "[1, 16]"),
        ("dropout_prob: {uniform: [0.5, 0.5]}", "empty"),
        ("dropout_prob: {uniform: [0.5, 0.1]}", "empty"),
        ("dropout_prob: {uniform: [0.1, 1.5]}", "[0, 1)"),
        ("dropout_prob: {uniform: [0.1]}", "uniform takes"),
        ("dropout_prob: {uniform: [a, b]}", "numbers"),
        ("weight_decay: {loguniform: [0.0, 0.1]}", "above 0"),
        ("n_layers: {quniform: [1, 5, 0]}", "step"),
        ("n_layers: {quniform: [1, 5, 3]}", "step"),
        ("n_layers: {quniform: [1, 2, 0.5]}", "int"),
        ("n_layers: {choice: [1], when: {dropout_prob: 0.1}}", "above it"),
        (
            "n_layers: {choice: [1, 2]}\ndropout_prob: {uniform: [0.0, 0.1], when: {n_layers: 3}}",
            "no value of that key",
        ),
        ("n_layers: {choice: [1], when: 3}", "when takes"),
        ("n_layers: {choice: [1]}\nn_layers: {choice: [2]}", "twice"),
    ],
)
def test_each_bad_line_is_refused_with_its_place(text, named, space_of, tmp_path):
    with pytest.raises(UserError) as error:
        space_of(text)
    message = str(error.value)
    assert named in message and "\n" not in message and str(tmp_path / "space.yaml") in message


def test_a_model_without_a_space_needs_one(config, tmp_path):
    with pytest.raises(UserError, match="--space"):
        load_space(load_config("OwnItems", "toy"))
    with pytest.raises(UserError, match="does not exist"):
        load_space(config, tmp_path / "none.yaml")
