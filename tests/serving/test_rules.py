"""Rules at request time: conditions on columns, and the lists that rules make, against slow readings of both."""

import json

import numpy as np
import pytest
from helpers.untrained import untrained
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_tme.cli import main
from recbole_tme.errors import UserError
from recbole_tme.serving.bundle import pack
from recbole_tme.serving.recommender import Recommender
from recbole_tme.serving.rules.columns import ItemColumns
from recbole_tme.serving.rules.query import matching
from recbole_tme.serving.rules.rules import Rules

N = 60
BRANDS = ["red", "green", 'it\'s "blue"', None]


def row(i):
    return {"brand": BRANDS[i % 4], "price": None if i % 7 == 0 else str(5 * i), "tags": f"t{i % 3} Old"}


ROWS = [row(i) for i in range(N)]
NAMES = ["brand", "price", "tags"]
COLUMNS = ItemColumns.of(
    [f"i{i}" for i in range(N)], {f"i{i}": [one[name] for name in NAMES] for i, one in enumerate(ROWS)}, NAMES
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rules")
    pack(untrained("DANSeR", folder, N, embedding_size=8), folder / "bundle")
    lines = [f"i{i},{one['brand'] or ''},{one['price'] or ''},{one['tags']}" for i, one in enumerate(ROWS)]
    lines = [line.replace('it\'s "blue"', '"it\'s ""blue"""') for line in lines]
    (folder / "items.csv").write_text("\n".join(["item_id,brand,price,tags", *lines]) + "\n")
    return folder


@pytest.fixture(scope="module")
def recommender(folder):
    return Recommender.load(folder / "bundle", items=folder / "items.csv")


@pytest.mark.parametrize(
    ("query", "meets"),
    [
        ("brand = 'red'", lambda one: one["brand"] == "red"),
        ('brand == "it\'s ""blue"""', lambda one: one["brand"] == 'it\'s "blue"'),
        ("brand = 'it''s \"blue\"'", lambda one: one["brand"] == 'it\'s "blue"'),
        ("brand != 'red'", lambda one: one["brand"] not in ("red", None)),
        ("not brand = 'red'", lambda one: one["brand"] != "red"),
        ("brand in ('red', 'green')", lambda one: one["brand"] in ("red", "green")),
        ("brand not in ('red')", lambda one: one["brand"] not in ("red", None)),
        ("brand is null", lambda one: one["brand"] is None),
        ("brand is not null", lambda one: one["brand"] is not None),
        ("price < 50", lambda one: one["price"] is not None and int(one["price"]) < 50),
        ("price >= 50.0 AND price <= 1e2", lambda one: one["price"] is not None and 50 <= int(one["price"]) <= 100),
        ("price = 50.0", lambda one: one["price"] == "50"),
        ("tags contains 'old' and tags contains 'T1'", lambda one: one["tags"] == "t1 Old"),
        ("`brand`='red' or brand='green' and price>100",
         lambda one: one["brand"] == "red" or (one["brand"] == "green" and int(one["price"] or 0) > 100)),
        ("(brand='red' or brand='green') and not (price > 100)",
         lambda one: one["brand"] in ("red", "green") and not int(one["price"] or 0) > 100),
    ],
)  # fmt: skip
def test_a_condition_means_what_it_says(query, meets):
    assert matching(query, COLUMNS, N).tolist() == [meets(one) for one in ROWS]


@pytest.mark.parametrize(
    ("query", "position", "word"),
    [
        ("", 1, "column"),
        ("brand", 6, "expected ="),
        ("brand =", 8, "text in quotes"),
        ("brand = red", 9, "text in quotes"),
        ("brand = 'red", 9, "neither"),
        ("brnd = 'red'", 1, "did you mean brand"),
        ("brand < 5", 7, "no numbers"),
        ("price < 'x'", 9, "number"),
        ("brand = 'red' price", 15, "the end"),
        ("(brand = 'red'", 15, ")"),
        ("brand in ()", 11, "quotes"),
        ("brand in 'red'", 10, "("),
        ("price < 5; drop", 10, "neither"),
        ("and", 1, "column"),
        ("(" * 60 + "price < 5", 51, "levels"),
        ("not " * 100_000, None, "characters"),
    ],
)
def test_a_condition_that_does_not_parse_is_refused_by_its_position(query, position, word):
    with pytest.raises(UserError) as refused:
        matching(query, COLUMNS, N)
    line = str(refused.value)
    assert word in line and "\n" not in line and len(line) < 400
    assert position is None or f"position {position}" in line


CONDITIONS = ["brand = 'red'", "price < 100", ("i1", "i2", "i40", "stranger"), "brand is null"]


@settings(max_examples=80, deadline=None)
@given(
    allow=st.sampled_from([None, *CONDITIONS]),
    deny=st.sampled_from([None, *CONDITIONS]),
    boost=st.lists(st.tuples(st.sampled_from(CONDITIONS), st.sampled_from([0.1, 3.0])), max_size=2),
    pin=st.lists(st.sampled_from(["i3", "i40", "i8", "stranger"]), max_size=3, unique=True),
    limit=st.sampled_from([None, 1, 3]),
    exclude_seen=st.booleans(),
    k=st.integers(1, N),
    session=st.sampled_from([["i1", "i8", "i9"], ["zz"], ["i3"]]),
)
def test_lists_are_those_of_a_loop_over_the_catalogue(
    recommender, allow, deny, boost, pin, limit, exclude_seen, k, session
):
    limits = () if limit is None else (("brand", limit),)
    rules = Rules(allow, deny, tuple(boost), tuple(pin), limits, exclude_seen=exclude_seen)
    (found,) = recommender.answers([session], k, rules=rules)

    def meets(condition, i):
        return f"i{i}" in condition if isinstance(condition, tuple) else matching(condition, COLUMNS, N)[i]

    (plain,) = recommender.answers([session], N)
    score = dict(zip(plain.items, np.asarray(plain.scores, dtype=np.float64)))
    for condition, factor in boost:
        for i in range(N):
            if meets(condition, i):
                old = score[f"i{i}"]
                score[f"i{i}"] = old + np.log(factor) if plain.source == "model" else old * factor
    left = [
        i for i in range(N)
        if (allow is None or meets(allow, i)) and not (deny is not None and meets(deny, i))
        and not (exclude_seen and f"i{i}" in session)
    ]  # fmt: skip
    pins = [int(item[1:]) for item in pin if item != "stranger" and int(item[1:]) in left]
    # Sums of float32 may swap neighbours that are equal up to rounding.
    wanted, counts = [], {}
    for i in [*pins, *sorted(left, key=lambda i: (-round(score[f"i{i}"], 4), i))]:
        brand = COLUMNS.columns["brand"].codes[i]
        if len(wanted) == k or i in wanted:
            continue
        if limit is not None and brand >= 0 and counts.get(brand, 0) >= limit and len(wanted) >= len(pins):
            continue
        counts[brand] = counts.get(brand, 0) + 1
        wanted.append(i)
    assert len(found.items) == len(wanted)
    assert found.items[: min(k, len(pins))] == [f"i{i}" for i in pins[:k]]
    np.testing.assert_allclose(
        found.scores, [score[f"i{i}"] for i in wanted], rtol=1e-3, atol=1e-3, err_msg=str(found.items)
    )
    assert len(set(found.items)) == len(found.items)
    assert (f"the rules leave {len(wanted)} of {k} items" in found.notes) == (len(wanted) < k)
    assert any("pinned" in note for note in found.notes) == ("stranger" in pin)


@pytest.mark.parametrize("diversity", [0.3, 0.8])
def test_diverse_lists_are_those_of_the_definition(recommender, diversity):
    session, k = ["i1", "i2"], 8
    (plain,) = recommender.answers([session], N)
    vectors = recommender.model.item_vectors().detach().numpy()[1:]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = np.array([plain.scores[plain.items.index(f"i{i}")] for i in range(N)])
    low, high = scores[np.isfinite(scores)].min(), scores.max()
    worth, wanted = (scores - low) / (high - low), []
    for _ in range(k):
        mixed = [
            -np.inf if i in wanted else
            (1 - diversity) * worth[i] - diversity * max((unit[i] @ unit[j] for j in wanted), default=0)
            for i in range(N)
        ]  # fmt: skip
        wanted.append(int(np.argmax(mixed)))
    (found,) = recommender.answers([session], k, rules={"diversity": diversity})
    assert found.items == [f"i{i}" for i in wanted]
    assert found.items != plain.items[:k]


def test_diverse_lists_obey_the_other_rules_and_are_filled_up(recommender):
    rules = {"diversity": 0.5, "max_per": {"brand": 2}, "deny": ["i5"], "pin": ["i7"]}
    (found,) = recommender.answers([["i1", "i2"]], 12, rules=rules)
    brands = [BRANDS[int(item[1:]) % 4] for item in found.items]
    assert len(found.items) == 12 and found.items[0] == "i7" and "i5" not in found.items
    assert all(brands.count(brand) <= 2 for brand in BRANDS[:3])


def test_with_an_index_lists_with_rules_are_exact(folder):
    pytest.importorskip("faiss", reason="needs faiss, the extra index")
    indexed = Recommender.load(folder / "bundle", index="faiss", items=folder / "items.csv")
    exact = Recommender.load(folder / "bundle", items=folder / "items.csv")
    rules = {"allow": "price > 200", "boost": [{"where": "brand = 'red'", "factor": 5}]}
    for one, other in zip(*(r.answers([["i1"], ["i2", "i3"]], 10, rules=rules) for r in (indexed, exact))):
        assert one.items == other.items


def test_several_rules_hold_together(recommender):
    parts = [Rules(deny=("i1",), pin=("i4",)), Rules(deny=("i4", "i5"), pin=("i6", "i1"))]
    (found,) = recommender.answers([["i2"]], 59, rules=parts)
    assert found.items[0] == "i6" and not {"i1", "i4", "i5"} & set(found.items) and len(found.items) == 57


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ([], "mapping"),
        ({"denny": ["i1"]}, "did you mean deny"),
        ({"deny": 5}, "rules.deny"),
        ({"deny": [True]}, "rules.deny"),
        ({"deny": [1.5]}, "rules.deny"),
        ({"deny": "colour = 'x'"}, "position 1"),
        ({"allow": "price <"}, "position 8"),
        ({"boost": [{"where": "price < 5"}]}, "rules.boost.0"),
        ({"boost": [{"where": "price < 5", "factor": 0}]}, "rules.boost.0.factor"),
        ({"boost": [{"where": "price < 5", "factor": "2"}]}, "rules.boost.0.factor"),
        ({"boost": [{"where": "price <", "factor": 2}]}, "rules.boost.0.where"),
        ({"boost": {}}, "rules.boost"),
        ({"pin": "i1"}, "rules.pin"),
        ({"pin": "@/etc/passwd"}, "rules.pin"),
        ({"max_per": {"brand": 0}}, "rules.max_per"),
        ({"max_per": {"colour": 1}}, "colour"),
        ({"max_per": 2}, "rules.max_per"),
        ({"diversity": 1.5}, "rules.diversity"),
        ({"diversity": float("nan")}, "rules.diversity"),
        ({"exclude_seen": "yes"}, "rules.exclude_seen"),
    ],
)
def test_rules_that_are_none_are_refused_by_their_field(recommender, content, word):
    with pytest.raises(UserError) as refused:
        recommender.answers([["i1"]], 3, rules=Rules.of(content))
    assert word in str(refused.value) and "\n" not in str(refused.value)


def test_a_model_without_vectors_cannot_be_asked_for_diversity(tmp_path):
    (tmp_path / "weights").mkdir()
    pack(untrained("SPop", tmp_path / "weights", N), tmp_path / "bundle")
    one = Recommender.load(tmp_path / "bundle")
    with pytest.raises(UserError, match="diversity"):
        one.answers([["i1"]], 3, rules={"diversity": 0.5})


def test_a_file_of_rules_and_lists_beside_it(recommender, tmp_path):
    (tmp_path / "gone.txt").write_text("i1\n\n i2 \n")
    (tmp_path / "rules.yaml").write_text("deny: '@gone.txt'\nmax_per: {brand: 3}\n")
    assert Rules.read(tmp_path / "rules.yaml") == Rules(deny=("i1", "i2"), max_per=(("brand", 3),))
    (tmp_path / "rules.yaml").write_text("deny: '@none.txt'\n")
    with pytest.raises(UserError, match=r"none\.txt"):
        Rules.read(tmp_path / "rules.yaml")


def run(folder, *arguments) -> int:
    return main(["recommend", str(folder / "bundle"), "--session=i1 i2", *arguments])


def test_the_command_line_takes_the_same_rules(folder, recommender, tmp_path, capsys):
    (tmp_path / "rules.json").write_text(json.dumps({"deny": "price > 100", "max_per": {"brand": 2}}))
    assert run(folder, "-k=9", f"--rules={tmp_path / 'rules.json'}", f"--items={folder / 'items.csv'}") == 0
    shown = capsys.readouterr()
    (wanted,) = recommender.answers([["i1", "i2"]], 9, rules={"deny": "price > 100", "max_per": {"brand": 2}})
    assert [line.split(",")[2] for line in shown.out.splitlines()[1:]] == wanted.items
    assert run(folder, "-k=9", "--rules={allow: [i5, i6]}") == 0
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 3 and "the rules leave 2 of 9 items" in shown.err


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--rules=none.yaml"], "none.yaml"),
        (["--rules={deny: price < 5}"], "--items"),
        (["--rules={denny: [i1]}"], "did you mean deny"),
        (["--items=none.csv"], "none.csv"),
    ],
)
def test_bad_rules_on_the_command_line_are_one_line(folder, capsys, options, word):
    assert run(folder, *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and word in line
