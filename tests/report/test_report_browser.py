"""The report's page in a real browser, on a phone and a desk, in the light, in the dark and on paper."""

import shutil

import pytest
from helpers.report_runs import make_run, some_ranks

from recbole_tme.report.comparison import write_report

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (extra test)")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
QUIET += "--disable-component-update --disable-sync"
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}

# Every chart with its place on the page, the boxes of its marks, and whatever of its words it cuts off.
MEASURE = """() => [...document.querySelectorAll("svg")].map(svg => {
  const box = svg.getBoundingClientRect(), view = svg.viewBox.baseVal, marks = [...svg.querySelectorAll(".dot, .line")];
  const cutOff = mark => {
    const b = mark.getBBox(), slack = 0.5;
    return b.x < -slack || b.y < -slack || b.x + b.width > view.width + slack || b.y + b.height > view.height + slack;
  };
  return {
    left: box.left, right: box.right, height: box.height, said: svg.getAttribute("aria-label"), marks: marks.length,
    outside: [...svg.querySelectorAll("text"), ...marks].filter(cutOff).map(mark => mark.outerHTML),
  };
})"""

TALL = """@font-face {
  font-family: Tall; src: local("DejaVu Sans"), local("Arial"); ascent-override: 110%; descent-override: 40%;
}
svg text { font-family: Tall !important; }"""

# The contrast (WCAG 2) of every text on the page with the nearest background below it.
CONTRAST = """() => {
  const parts = colour => colour.match(/[\\d.]+/g).map(Number);
  const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = colour => {
    const [r, g, b] = parts(colour).slice(0, 3).map(v => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = element => {
    const colour = getComputedStyle(element).backgroundColor;
    return parts(colour)[3] === 0 && element.parentElement ? ground(element.parentElement) : colour;
  };
  const hasText = element => [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
  return [...document.querySelectorAll("body *:not(title)")].filter(hasText).map(element => {
    const style = getComputedStyle(element);
    const ink = light(element instanceof SVGElement ? style.fill : style.color), paper = light(ground(element));
    return [(Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05), element.outerHTML.slice(0, 120)];
  });
}"""


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("needs a chromium (apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET.split())
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A report on ten models, some of long names, on one of which a run failed."""
    folder = tmp_path_factory.mktemp("browser")
    for number in range(7):
        ranks = some_ranks(5.0 + 2 * number, number)
        make_run(folder / "runs", f"Model{number}", ranks, epochs=4, titles={"i1": "A long title of an item " * 4})
    for weight in (0.001, 0.0, 1e-12):
        settings = {"triplet_weight": weight, "another_setting": weight, "third_setting": weight}
        make_run(folder / "runs", "TMEGNN", some_ranks(9.0, 20), epochs=30, **settings)
    failures = [{"model": "Gone", "seed": 1, "reason": "out of memory " * 20, "log": "/a/long/path" * 10}]
    plan = {"command": "recbole-tme compare" + " --option" * 100}
    write_report([folder / "runs"], folder / "out", failures=failures, plan=plan)
    return (folder / "out" / "report.html").as_uri()


@pytest.fixture
def opened(browser, address):
    """Open the page and give it with what it complained of and what it asked for."""
    contexts = []

    def open_page(size, scheme="light"):
        context = browser.new_context(viewport=size, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        complaints, requests = [], []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(address)
        return page, complaints, requests

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_every_chart_is_drawn_within_the_page_and_nothing_is_asked_for(opened, address, size):
    page, complaints, requests = opened(size)
    charts = page.evaluate(MEASURE)
    assert len(charts) == page.locator("figure").count() >= 12
    for chart in charts:
        assert chart["marks"] >= 4 and chart["height"] > 100, chart["said"]
        assert 0 <= chart["left"] < chart["right"] <= size["width"], chart["said"]
        assert chart["outside"] == [], chart["said"]
    # Folded tables and sessions too.
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    assert complaints == [] and requests == [address]


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_charts_have_room_for_the_letters_of_a_tall_typeface(opened, size):
    page, _, _ = opened(size)
    # The system's typeface is not the same everywhere; Noto's ascent is 1.07, Segoe's 1.08.
    page.add_style_tag(content=TALL)
    page.evaluate("document.fonts.load('11px Tall').then(() => document.fonts.ready)")
    for chart in page.evaluate(MEASURE):
        assert chart["outside"] == [], chart["said"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_can_be_read_in_the_light_and_in_the_dark(opened, scheme):
    page, _, _ = opened(PHONE, scheme)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    contrasts = page.evaluate(CONTRAST)
    assert len(contrasts) > 500
    assert min(contrasts)[0] >= 4.5, min(contrasts)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")


def test_the_keyboard_reaches_links_tables_and_sessions(opened):
    page, _, _ = opened(DESK)
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.className || document.activeElement.tagName"))
    assert {"A", "scroll", "SUMMARY"} <= reached
    summary = page.locator("details.example summary").first
    summary.focus()
    page.keyboard.press("Enter")
    assert page.locator("details.example[open]").count() == 1


def test_the_page_prints_on_white_paper(opened):
    page, complaints, _ = opened(DESK, "dark")
    content = page.pdf(format="A4", print_background=True)
    assert content.startswith(b"%PDF") and content.count(b"/Type /Page\n") + content.count(b"/Type /Page ") >= 3
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("nav").first.is_hidden() and complaints == []
