"""The page in a browser: clicks in, recommendations and their reasons out, by mouse, keyboard and thumb."""

from contextlib import contextmanager

import pytest
from helpers import browser as browsers
from helpers.browser import PHONE, SCHEMES, SIZES, violations
from helpers.quick_run import quick_run
from helpers.serving_process import serving

from recbole_tme.runs.itemlist import ItemList
from recbole_tme.serving.recommender import Recommender

pytest.importorskip("fastapi", reason="needs FastAPI, the extra serve")
pytest.importorskip("uvicorn", reason="needs uvicorn, the extra serve")
HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=2</script><b>&amp;'


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose most popular item has a hostile title."""
    run = quick_run(tmp_path_factory.mktemp("serve_page"), "DANSeR", embedding_size=8, n_layers=2).path
    items = ItemList.read(run / "catalogue.json")
    most = items.ids[items.clicks.argmax()]
    ItemList(items.ids, items.clicks, items.titles | {most: HOSTILE}).write(run / "catalogue.json")
    return run


@pytest.fixture(scope="module")
def recommender(run):
    return Recommender.load(run)


@pytest.fixture(scope="module")
def server(browser, run):
    with serving(run) as server:
        yield server


@contextmanager
def opened(browser, server, size=browsers.DESK, scheme="light", **options):
    """The page with its lists, which must ask nobody else and complain of nothing."""
    with browsers.opened(browser, server.url, size, scheme, **options) as page:
        loaded(page)
        yield page


def loaded(page) -> None:
    for shown in ("#items", "#best"):
        page.wait_for_selector(f"{shown} .item")


def session(page) -> list[str]:
    return page.locator("#clicks .name").all_text_contents()


def settle(page, n_clicks) -> None:
    """Wait for the answer to a session of so many clicks."""
    page.wait_for_function(
        """n => document.querySelectorAll("#clicks .click").length === n
           && [...document.querySelectorAll("#clicks .figure")].every((figure) => figure.textContent !== "")""",
        arg=n_clicks,
    )
    browsers.answered(page)


def name(recommender, item) -> str:
    return recommender.titles.get(item, item)


def percent(text) -> float:
    return float(text.rsplit(maxsplit=2)[-2])


def test_clicks_become_a_session_with_recommendations_and_reasons(browser, server, recommender):
    with opened(browser, server) as page:
        assert "DANSeR" in page.text_content("#about") and str(len(recommender.items)) in page.text_content("#about")
        assert "most clicks" in page.text_content("#status") and page.locator("#reasons").is_hidden()
        popular = sorted(range(len(recommender.items)), key=lambda i: (-recommender.clicks[i], i))
        wanted = [name(recommender, recommender.items[i]) for i in popular[:30]]
        assert page.locator("#items .name").all_text_contents() == wanted
        for place in (0, 3, 0):
            page.locator("#items .item").nth(place).click()
        settle(page, 3)
        clicked = [recommender.items[popular[place]] for place in (0, 3, 0)]
        assert session(page) == [name(recommender, item) for item in clicked]
        (best,) = recommender.answers([clicked], 12)
        assert page.locator("#best .name").all_text_contents() == [name(recommender, item) for item in best.items]
        reasons = recommender.explain(clicked)

        def shown(selector):
            return [percent(text) for text in page.locator(selector).all_text_contents()]

        assert shown("#clicks .figure") == pytest.approx([100 * share for share in reasons.attention], abs=0.6)
        assert shown("#hop-choices .figure") == pytest.approx([100 * share for share in reasons.hops], abs=0.6)
        assert shown("#repeat") == pytest.approx([100 * reasons.repeat], abs=0.6)
        page.get_by_label("2 steps").check()
        settle(page, 3)
        within = [100 * share for share in reasons.hop_attention[2]]
        assert shown("#clicks .figure") == pytest.approx(within, abs=0.6)
        page.locator("#exclude").check()
        browsers.answered(page)
        (best,) = recommender.answers([clicked], 12, exclude_seen=True)
        assert page.locator("#best .name").all_text_contents() == [name(recommender, item) for item in best.items]


def test_the_catalogue_is_searched_and_paged(browser, server, recommender):
    with opened(browser, server) as page:
        while page.locator("#more").is_visible():
            shown = page.locator("#items .item").count()
            page.locator("#more").click()
            page.wait_for_function("n => document.querySelectorAll('#items .item').length > n", arg=shown)
        assert page.locator("#items .item").count() == len(recommender.items)
        page.fill("#words", "no. 17")
        page.wait_for_function("() => document.querySelectorAll('#items .item').length === 1")
        page.fill("#words", "nothing of the kind")
        page.wait_for_selector("#nothing")
        assert page.locator("#items .item").count() == 0


def test_it_is_used_by_keyboard_alone(browser, server, recommender):
    with opened(browser, server) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "words"
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        page.keyboard.press("Space")
        settle(page, 2)
        page.locator("#best .item").nth(4).focus()
        page.keyboard.press("Enter")
        settle(page, 3)
        # The lists are new, the place in them is not.
        assert page.evaluate("[...document.querySelectorAll('#best .item')].indexOf(document.activeElement)") == 4
        page.locator("#hop-choices input").first.focus()
        page.keyboard.press("ArrowDown")
        assert page.get_by_label("single clicks").is_checked()
        assert page.evaluate("document.activeElement.type") == "radio"
        before = session(page)
        page.locator("#clicks .remove").first.focus()
        page.keyboard.press("Enter")
        settle(page, 2)
        assert session(page) == before[1:]
        assert page.evaluate("document.activeElement.className").endswith("remove")
        for left in (1, 0):
            page.keyboard.press("Enter")
            settle(page, left)
        assert page.evaluate("document.activeElement.id") == "words"


def test_a_title_with_markup_in_it_is_text(browser, server):
    with opened(browser, server) as page:
        page.locator("#items .item").first.click()
        settle(page, 1)
        assert session(page) == [HOSTILE]
        assert page.title() == "Session recommendations"
        assert page.locator("main img, main script, main b").count() == 0


@SCHEMES
def test_a_phone_shows_it_without_scrolling_sideways(browser, server, scheme):
    with opened(browser, server, PHONE, scheme, has_touch=True) as page:
        for place in (0, 1):
            page.locator("#items .item").nth(place).tap()
        settle(page, 2)
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        # Without scrolling: what is tapped, and what comes of it.
        assert page.evaluate("scrollY") == 0
        third = page.locator("#best .item").nth(2).bounding_box()
        assert third["y"] + third["height"] <= PHONE["height"]
        sizes = page.locator("button:visible, input:visible").evaluate_all(
            "all => all.map((one) => (one.closest('label') ?? one).getBoundingClientRect().height)"
        )
        assert min(sizes) >= 24


@SIZES
@SCHEMES
def test_axe_finds_nothing(browser, server, size, scheme):
    with opened(browser, server, size, scheme) as page:
        assert violations(page) == []
        page.locator("#example-list .item").first.click()
        page.wait_for_selector("#truth:visible")
        page.locator("#items .item").first.hover()
        assert violations(page) == []


def test_a_server_that_is_gone_is_said(browser, run):
    with serving(run) as short_lived:
        context = browser.new_context()
        page = context.new_page()
        page.goto(short_lived.url)
        loaded(page)
        short_lived.stop()
        page.locator("#items .item").first.click()
        page.wait_for_selector("#problem:visible")
        assert page.text_content("#problem").startswith("No answer: ")
        assert session(page) == [HOSTILE]
        context.close()


def test_the_description_is_shown_and_asks_nobody_else(browser, server):
    context = browser.new_context()
    page, requests, complaints = context.new_page(), [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(server.url + "/docs")
    page.wait_for_selector("#operations h2")
    heads = page.locator("#operations h2").all_text_contents()
    assert {"POST /recommend", "GET /items", "Answer"} <= set(heads)
    text = page.text_content("#operations")
    assert violations(page) == []
    assert "exclude_seen" in text and "item ids in click order" in text and "undefined" not in text
    context.close()
    assert not complaints and all(url.startswith(server.url) for url in requests)


def test_the_page_asks_for_the_token_once(browser, run, tmp_path):
    token = tmp_path / "token"
    token.write_text("0123456789abcdef0123456789abcdef")
    token.chmod(0o600)
    with serving(run, f"--token-file={token}") as server:
        context = browser.new_context()
        page, asked = context.new_page(), []

        def enter(dialog):
            asked.append(dialog.message)
            dialog.accept(token.read_text())

        page.on("dialog", enter)
        page.goto(server.url)
        loaded(page)
        assert len(asked) == 1
        context.close()
