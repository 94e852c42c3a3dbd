"""What a reader does with the report's page: sort, copy, save, choose models, sessions and pairs, ask for figures."""

import csv
import io

import pytest
from helpers.browser import opened
from helpers.report_runs import make_run, some_ranks

from recbole_tme.report.comparison import write_report

NAMES = ["Alpha", "Beta", "Gamma", "Delta", "Epsilon", "Zeta", "Eta"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A report on seven models with two seeds each, and what it says."""
    folder = tmp_path_factory.mktemp("actions")
    for number, name in enumerate(NAMES):
        for seed in (1, 2):
            make_run(folder / "runs", name, some_ranks(5.0 + 3 * number, 10 * number + seed), seed, epochs=4)
    (section,) = write_report([folder / "runs"], folder / "out")
    return section, (folder / "out" / "report.html").as_uri()


@pytest.fixture
def page(browser, made):
    with opened(browser, made[1], permissions=["clipboard-read", "clipboard-write"]) as page:
        yield page


def names(page) -> list[str]:
    return page.locator("table.ranking tbody .name").all_text_contents()


def test_a_table_is_sorted_by_its_heads(page):
    ranked = names(page)
    head = page.locator("table.ranking th", has_text="P@20")
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    values = [
        float(t.split()[-1])
        for t in page.locator("table.ranking tbody tr td:nth-child(3)").evaluate_all(
            "(all) => all.map((one) => [...one.childNodes].filter((n) => n.nodeType === 3).map((n) => n.data).join(''))"
        )
    ]
    assert values == sorted(values, reverse=True)
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending" and names(page) != ranked
    page.locator("table.ranking th", has_text="model").locator("button").click()
    assert names(page) == sorted(NAMES)


def test_a_table_is_copied_in_three_forms_and_saved(page, made):
    best = made[0].models[0]
    tools = page.locator(".tools").first

    def copied(form):
        pressed = tools.get_by_role("button", name=f"as {form}")
        pressed.click()
        pressed.filter(has_text="copied").wait_for()
        return page.evaluate("navigator.clipboard.readText()")

    rows = list(csv.reader(io.StringIO(copied("CSV"))))
    assert rows[0][:3] == ["model", "MRR@20", "P@20"] and [row[0] for row in rows[1:]] == names(page)
    value, interval = rows[1][1].split(" ", 1)
    assert float(value) == pytest.approx(100 * best.estimates["mrr@20"].value, abs=0.005) and interval.startswith("(")
    markdown = copied("Markdown").splitlines()
    assert markdown[1].startswith("|---|---:|") and len(markdown) == len(NAMES) + 2
    latex = copied("LaTeX")
    # Pressed again before it has gone back to its name, it still knows its form.
    copied("LaTeX")
    assert page.locator("body > [role=status]").text_content() == "Copied as LaTeX"
    assert latex.startswith("\\begin{tabular}{lrr") and f"{best.name} & " in latex and "\\toprule" in latex
    with page.expect_download() as saved:
        tools.get_by_role("button", name="Save").click()
    assert saved.value.suggested_filename == "ranking.csv"


def test_figures_are_told_under_the_pointer_and_by_arrow_keys(page):
    plane = page.locator("figure.chart .plane").first
    plane.scroll_into_view_if_needed()
    mark = plane.locator(".series:not(.off) .mark").nth(1)
    box = mark.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tip = plane.locator(".tip")
    said = tip.text_content()
    assert said and any(part in mark.get_attribute("data-tip") for part in said.split(": "))
    page.mouse.move(0, 0)
    plane.focus()
    page.keyboard.press("ArrowRight")
    first = tip.text_content()
    page.keyboard.press("ArrowRight")
    second = tip.text_content()
    page.keyboard.press("ArrowDown")
    third = tip.text_content()
    assert first != second != third and tip.is_visible()
    page.keyboard.press("Escape")
    assert tip.is_hidden()


def test_models_are_switched_on_and_off_in_curves(page):
    chart = page.locator("figure.chart").first
    last = chart.locator(".key button", has_text=f"7 {NAMES[-1]}")
    line = chart.locator(f'.series[data-model="{NAMES[-1]}"]')
    assert last.get_attribute("aria-pressed") == "false" and line.is_hidden()
    last.focus()
    page.keyboard.press("Space")
    assert last.get_attribute("aria-pressed") == "true" and line.is_visible()
    last.click()
    assert line.is_hidden()


def test_two_chosen_models_are_set_side_by_side(page, made):
    section = made[0]
    first, second = section.models[4].name, section.models[1].name
    page.select_option("#d1-pair-first", label=f"5 {first}")
    page.select_option("#d1-pair-second", label=f"2 {second}")
    text = page.locator(".outcome > div").first.text_content()
    pair = next(
        p for p in section.pairs if {p.line.model, p.line.reference} == {first, second} and p.line.metric == "mrr@20"
    )
    sessions = pair.better + pair.equal + pair.worse
    # The pair is kept the other way round.
    assert pair.line.model == second
    assert f"{first} − {second}: −{100 * pair.line.difference:.2f} points" in text
    assert f"{first} better: {100 * pair.worse / sessions:.1f} %" in text
    assert f"{second} better: {100 * pair.better / sessions:.1f} %" in text
    assert sum(pair.bins) == sessions and sum(pair.bins[:4]) == pair.worse and pair.bins[4] == pair.equal
    page.select_option("#d1-pair-second", label=f"5 {first}")
    assert "two different models" in page.locator(".outcome").text_content()


def test_the_matrix_is_walked_by_arrow_keys(page):
    plane = page.locator(".plane:has(.matrix)").first
    plane.locator(".scroll").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    tip = plane.locator(".tip").text_content()
    cell = plane.locator("td.here")
    assert cell.text_content() in tip and "Holm p" in tip


def test_sessions_are_chosen_by_how_the_models_did(page):
    every = page.locator("details.example").count()
    group = page.get_by_role("group", name="Which sessions are shown")
    counts = [int(text.split(": ")[1]) for text in group.locator("button").all_text_contents()]
    assert counts[0] == every == sum(counts[1:])
    chosen = group.locator("button").nth(1)
    chosen.click()
    assert page.locator("details.example:visible").count() == counts[1]
    assert chosen.get_attribute("aria-pressed") == "true"


def test_the_keyboard_reaches_every_kind_of_control(page):
    reached = set()
    for _ in range(150):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.className || document.activeElement.tagName"))
    assert {"sort", "A", "BUTTON", "scroll", "plane", "SELECT", "SUMMARY"} <= reached
