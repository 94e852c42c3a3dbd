"""The report's page in a real browser, on a phone and a desk, in the light, in the dark and on paper."""

import pytest
from helpers.browser import DESK, PHONE, SIZES, opened, unfold
from helpers.report_runs import make_run, some_ranks

from recbole_tme.report.comparison import write_report

# Every chart with its place on the page, its marks, whatever of it is cut off, and pairs of labels that overlap.
MEASURE = """() => [...document.querySelectorAll("svg")].map(svg => {
  const box = svg.getBoundingClientRect(), view = svg.viewBox.baseVal;
  const marks = [...svg.querySelectorAll(".mark, .line")], texts = [...svg.querySelectorAll("text")];
  const seen = mark => getComputedStyle(mark.closest(".series") ?? mark).display !== "none";
  const cutOff = mark => {
    const b = mark.getBBox();
    return Math.min(b.x, b.y) < -0.5 || b.x + b.width > view.width + 0.5 || b.y + b.height > view.height + 0.5;
  };
  const boxes = texts.filter(seen).map(text => [text.textContent, text.getBoundingClientRect()]);
  const covers = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 0.5
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3;
  return {
    left: box.left, right: box.right, height: box.height, said: svg.getAttribute("aria-label"), marks: marks.length,
    outside: [...texts, ...marks].filter(seen).filter(cutOff).map(mark => mark.outerHTML),
    overlapping: boxes.flatMap(([one, a], i) =>
      boxes.slice(i + 1).filter(([, b]) => covers(a, b)).map(([other]) => [one, other])),
  };
})"""

TALL = """@font-face {
  font-family: Tall; src: local("DejaVu Sans"), local("Arial"); ascent-override: 110%; descent-override: 40%;
}
svg text { font-family: Tall !important; }"""
MODELS = 21


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A report on 21 models, one without training and some with long names or two seeds; a run failed."""
    folder = tmp_path_factory.mktemp("browser")
    for number in range(16):
        ranks = some_ranks(5.0 + number, number)
        titles = {"i1": "A long title of an item " * 4}
        for seed in (1, 2)[: 1 + (number < 3)]:
            cost = {"epoch_seconds": 1.0 + number % 4, "query_ms": 1.5 + number // 5}
            make_run(folder / "runs", f"Model{number}", ranks, seed, epochs=4, titles=titles, cost=cost)
    make_run(folder / "runs", "SPop", some_ranks(7.0, 30), epochs=1)
    for weight in (0.001, 0.0, 1e-12, 1.0):
        settings = {"triplet_weight": weight, "another_setting": weight, "third_setting": weight}
        make_run(folder / "runs", "TMEGNN", some_ranks(9.0, 20), epochs=30, **settings)
    failures = [{"model": "Gone", "seed": 1, "reason": "out of memory " * 20, "log": "/a/long/path" * 10}]
    plan = {"command": "recbole-tme compare" + " --option" * 100}
    (section,) = write_report([folder / "runs"], folder / "out", failures=failures, plan=plan)
    assert len(section.models) == MODELS
    return (folder / "out" / "report.html").as_uri()


@SIZES
def test_every_chart_is_within_the_page_and_no_label_covers_another(browser, address, size):
    with opened(browser, address, size) as page:
        charts = page.evaluate(MEASURE)
        assert len(charts) == page.locator("figure.chart").count() >= 8
        for chart in charts:
            assert chart["marks"] >= 4 and chart["height"] > 100, chart["said"]
            assert 0 <= chart["left"] < chart["right"] <= size["width"], chart["said"]
            assert chart["outside"] == [] and chart["overlapping"] == [], chart["said"]
        unfold(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]


def test_charts_have_room_for_the_letters_of_a_tall_typeface(browser, address):
    with opened(browser, address, PHONE) as page:
        # The system's typeface is not the same everywhere; Noto's ascent is 1.07, Segoe's 1.08.
        page.add_style_tag(content=TALL)
        page.evaluate("document.fonts.load('11px Tall').then(() => document.fonts.ready)")
        for chart in page.evaluate(MEASURE):
            assert chart["outside"] == [], chart["said"]


def test_the_ranking_is_on_a_phones_first_screen_and_its_names_stay(browser, address):
    with opened(browser, address, PHONE) as page:
        third = page.locator("table.ranking tbody tr").nth(2).bounding_box()
        assert third["y"] + third["height"] <= PHONE["height"]
        shown = page.locator("table.ranking thead th").nth(2).bounding_box()
        assert shown["x"] + shown["width"] <= PHONE["width"], "both tested metrics are seen without scrolling"
        name = page.locator("table.ranking tbody th").first
        before = name.bounding_box()["x"]
        page.locator(".scroll:has(.ranking)").evaluate("(one) => { one.scrollLeft = 300; }")
        assert name.bounding_box()["x"] == pytest.approx(before, abs=1)


def test_one_colour_is_one_model_wherever_it_is(browser, address):
    with opened(browser, address) as page:
        colours = page.evaluate("""() => {
          const found = {};
          for (const chip of document.querySelectorAll(".chip")) {
            const name = chip.querySelector(".name").textContent;
            (found[name] ??= new Set()).add(getComputedStyle(chip.querySelector(".dot")).getPropertyValue("--tone"));
          }
          for (const series of document.querySelectorAll(".series"))
            found[series.dataset.model].add(getComputedStyle(series).getPropertyValue("--tone"));
          return Object.values(found).map((tones) => [...tones]);
        }""")
        assert len(colours) == MODELS and all(len(tones) == 1 for tones in colours)
        assert len({tones[0] for tones in colours}) == MODELS
        references = page.locator("tr.reference .name").all_text_contents()
        assert len(references) > 3 and len(set(references)) == 1


def test_the_page_prints_on_white_paper_without_dead_controls(browser, address):
    with opened(browser, address, DESK, "dark") as page:
        content = page.pdf(format="A4", print_background=True)
        assert content.startswith(b"%PDF") and content.count(b"/Type /Page\n") + content.count(b"/Type /Page ") >= 3
        page.emulate_media(media="print", color_scheme="dark")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.locator("nav").first.is_hidden()
        # What is left of buttons is the words of heads and keys.
        left = page.locator("button:visible, select:visible, summary:visible").evaluate_all(
            "(all) => all.filter((one) => !one.closest('th, .key')).length"
        )
        assert left == 0
