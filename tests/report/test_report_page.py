"""The report's page and tables: what they are made of, and that nothing in the data can break them."""

import base64
import hashlib
import re
import shutil
import subprocess
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from helpers.report_runs import IDS, make_run, some_ranks
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from recbole_tme.report.axes import linear_ticks, log_ticks, scale, shown
from recbole_tme.report.comparison import write_report
from recbole_tme.report.labels import LINE, overlap, placed, spread
from recbole_tme.report.latex import escaped

HOSTILE = "</script><script>alert('1')</script> & \"q\" <img src=x onerror=alert(2)>"
VOID = {"meta", "link", "br", "wbr"}
SAFE = r"\\(textbackslash|textasciitilde|textasciicircum|textbar)\{\}|\\[&%$#_{}]|\$\\pm\$|\$[-<>]\$"
DOCUMENT = r"""
\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}\input{comparison.tex}\end{document}
"""


class Page(HTMLParser):
    """Elements, ids, links and text of a page whose tags have to match."""

    def __init__(self, text: str):
        super().__init__()
        self.stack: list[str] = []
        self.found: list[tuple[str, dict]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """A report on models, titles and reasons that would do harm where they are not escaped."""
    folder = tmp_path_factory.mktemp("report")
    titles = {IDS[0]: HOSTILE, IDS[1]: "a_b & {c} \\d $e% #f ^g ~h"}
    for seed in (1, 2):
        make_run(folder / "runs", "Good", some_ranks(6.0, seed), seed, titles=titles, variant="<b>&_{}%$#^~\\")
    make_run(folder / "runs", "Good", some_ranks(7.0, 3), titles=titles, variant="plain")
    make_run(folder / "runs", "Bad", some_ranks(18.0, 3), titles=titles)
    write_report(
        [folder / "runs"],
        folder / "out",
        failures=[{"model": HOSTILE, "seed": 1, "reason": HOSTILE, "log": "x.txt"}],
        plan={"command": f"recbole-tme compare '{HOSTILE}'"},
        title=HOSTILE,
    )
    return folder / "out"


@pytest.fixture(scope="module")
def page(out) -> Page:
    return Page((out / "report.html").read_text())


def test_the_page_is_one_well_formed_file_that_asks_for_nothing(out, page):
    assert page.stack == []
    text = (out / "report.html").read_text()
    # One script runs, the one whose hash the page's policy names; the others are data.
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [meta["content"] for meta in page.all("meta") if "http-equiv" in meta]
    assert f"script-src 'sha256-{digest}';" in policy and "default-src 'none'" in policy
    assert all(one.get("type") == "application/json" for one in page.all("script") if one)
    assert not page.all("img") and not page.all("iframe")
    assert [link["href"] for link in page.all("link")] == ["data:,"]
    assert not any(name.startswith("on") for _, attributes in page.found for name in attributes)
    assert not re.search(r"https?://|@import|url\(", text)
    ids = [attributes["id"] for _, attributes in page.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [link["href"] for link in page.all("a")]
    assert {link.removeprefix("#") for link in links if link.startswith("#")} <= set(ids)
    assert all((out / link).is_file() for link in links if not link.startswith("#")) and "comparison.csv" in links


def test_what_the_data_holds_is_shown_as_it_is(page):
    text = "".join(page.text)
    assert f"{HOSTILE} ({IDS[0]})" in text, "an item's title"
    assert "variant=<b>&_{}%$#^~\\" in text, "a model's name"
    assert text.count(HOSTILE) > 5


def test_every_chart_says_what_it_shows(page):
    charts = page.all("svg")
    figures = page.all("figure")
    assert len(figures) == len(page.all("figcaption")) and len(charts) >= 8
    assert len(charts) == sum(figure.get("class") == "chart" for figure in figures)
    assert all(chart["role"] == "img" and len(chart["aria-label"]) > 30 for chart in charts)
    assert all(box["tabindex"] == "0" and box["aria-label"] for box in page.all("div") if box.get("class") == "scroll")


def test_the_examples_name_items_and_mark_the_target(out):
    text = (out / "report.html").read_text()
    blocks = text.split('<details class="example"')[1:]
    assert len(blocks) >= 4
    for block in blocks:
        target = re.search(r"then <b>(.*?)</b>", block).group(1)
        assert block.count(f"<mark>{target}</mark>") >= 3, "each of three models recommends it last"


def test_what_was_found_comes_first_and_how_it_was_found_last(out):
    text = (out / "report.html").read_text()
    wanted = ["Best by <b>MRR@20</b>", 'data-title="Ranking"', ">Failed runs</h3>", ">Intervals</h3>"]
    wanted += [">Two models side by side</h3>", ">By clicks before the target</h3>"]
    wanted += [">By clicks of the target in training</h3>", ">Training curves</h3>", ">Accuracy against cost</h3>"]
    wanted += [">Beyond accuracy</h3>", ">Embedding spectrum</h3>", ">Sessions and recommendations</h3>"]
    wanted += [">What was trained</h3>", "Fingerprint</dt><dd><code>", "Tuning</dt>", "Made by</dt>"]
    places = [text.index(part) for part in wanted]
    assert places == sorted(places)


def test_latex_rows_have_their_columns_and_no_bare_special_character(out):
    text = (out / "comparison.tex").read_text()
    bare = re.sub(SAFE, "", text)
    tables = re.findall(r"\\begin\{tabular\}\{([lr]+)\}(.*?)\\end\{tabular\}", bare, re.S)
    assert len(tables) == text.count(r"\begin{table*}") == text.count(r"\end{table*}") >= 7
    for columns, body in tables:
        rows = [row for row in body.splitlines() if row.endswith("\\\\")]
        assert len(rows) > 1
        for row in rows:
            assert row.count("&") == len(columns) - 1
            assert not re.search(r"[%$#_^~\\]", row.replace("\\\\", ""))
    assert bare.count("{") == bare.count("}")


def test_latex_compiles(out, tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip("needs pdflatex")
    (tmp_path / "document.tex").write_text(DOCUMENT)
    shutil.copy(out / "comparison.tex", tmp_path)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "document.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]


@settings(max_examples=60, deadline=None)
@given(st.text())
def test_escaped_latex_has_balanced_braces(text):
    bare = re.sub(r"\\.", "", escaped(text), flags=re.S)
    assert bare.count("{") == bare.count("}") and not re.search(r"(?<!\\)[%#&_]", escaped(text))


numbers = st.floats(-1e6, 1e6, allow_nan=False)


@settings(max_examples=60, deadline=None)
@given(numbers, numbers, st.integers(2, 8))
def test_ticks_are_few_round_and_within(a, b, wanted):
    low, high = sorted((a, b))
    assume(high - low > 1e-3)
    ticks = linear_ticks(low, high, wanted)
    assert len(ticks) <= wanted and ticks == sorted(ticks)
    slack = 1e-6 * (high - low)
    assert all(low - slack <= tick <= high + slack for tick in ticks)
    steps = [second - first for first, second in pairwise(ticks)]
    assert not steps or max(steps) - min(steps) <= 1e-6 * max(steps)


@settings(max_examples=60, deadline=None)
@given(st.floats(1e-3, 1e6), st.floats(1.5, 1e6), st.integers(2, 8))
def test_log_ticks_are_within(low, ratio, wanted):
    ticks = log_ticks(low, low * ratio, wanted)
    assert len(ticks) <= wanted and ticks == sorted(set(ticks))
    assert all(low <= tick <= low * ratio for tick in ticks)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.01, 1e5), min_size=1), st.booleans(), st.booleans())
def test_a_scale_holds_its_values(values, log, zero):
    place = scale(values, 10, 350, log=log, zero=zero and not log)
    assert all(10 - 1e-6 <= place(value) <= 350 + 1e-6 for value in values)
    assert place(max(values)) >= place(min(values))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(30, 200), max_size=10))
def test_labels_keep_their_order_and_distance(wanted):
    placed = spread(sorted(wanted), 20, 210)
    assert all(second - first >= LINE - 1e-6 for first, second in pairwise(placed))
    assert all(7 <= place <= 210 for place in placed)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(40, 350), st.floats(30, 250)), max_size=21))
def test_the_numbers_of_points_cover_neither_points_nor_numbers(points):
    boxes = placed(points, [15.0] * len(points), (38, 24, 360, 260), 4)
    for i, (left, top, right, bottom) in enumerate(boxes):
        assert left >= 38 and right <= 360 and top >= 24 and bottom <= 260
        assert not any(overlap(boxes[i], other) for other in boxes[i + 1 :])
        assert not any(left < x + 4 and x - 4 < right and top < y + 4 and y - 4 < bottom for x, y in points)


def test_figures_beside_lines_are_short():
    assert [shown(value) for value in (0.25, -5.0, 1000.0, 2.5e6)] == ["0.25", "−5", "1,000", "2.5M"]
