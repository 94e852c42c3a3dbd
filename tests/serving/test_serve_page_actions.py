"""What a reader does with the demo page: search by keyboard, choose a length, share a link, copy code, set models
side by side, and look at sessions whose next item is known."""

import json
import shlex

import numpy as np
import pytest
from helpers.browser import answered, opened
from helpers.quick_run import quick_run
from helpers.serving_process import serving

from recbole_tme.serving.client import Client
from recbole_tme.serving.recommender import Recommender

pytest.importorskip("fastapi", reason="needs FastAPI, the extra serve")
pytest.importorskip("uvicorn", reason="needs uvicorn, the extra serve")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("actions")
    return quick_run(folder, "SRGNN", embedding_size=8).path, quick_run(folder, "SPop").path


@pytest.fixture(scope="module")
def server(runs):
    with serving(runs[0], f"--model=counts={runs[1]}") as server:
        yield server


@pytest.fixture
def page(browser, server):
    with opened(browser, server.url, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.wait_for_selector("#best .item")
        page.wait_for_selector("#example-list .item")
        yield page


def session(page, n_clicks) -> list[str]:
    """The session in the address, as soon as it is answered."""
    page.wait_for_function("n => document.querySelectorAll('#clicks .click').length === n", arg=n_clicks)
    page.wait_for_function("() => document.querySelector('#status').textContent.startsWith('After')")
    answered(page)
    return page.evaluate("new URLSearchParams(location.hash.slice(1)).getAll('s')")


def test_a_slash_goes_to_the_search_and_enter_takes_the_first_hit(page, server):
    page.locator("#more, #k").first.focus()
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "words"
    page.keyboard.press("Enter")
    page.keyboard.type("no. 17")
    page.keyboard.press("Enter")
    (item,) = session(page, 1)
    assert item == server.ask("/items?q=no.%2017")[1]["items"][0]["item"]
    # The next word replaces this one; a slash in it is a slash.
    page.keyboard.type("a/b")
    assert page.input_value("#words") == "a/b"


def test_how_many_and_the_session_are_in_the_address(page, browser, server):
    page.locator("#items .item").nth(1).click()
    page.locator("#best .item").nth(2).click()
    clicked = session(page, 2)
    page.select_option("#k", "5")
    page.locator("#exclude").check()
    answered(page)
    link = page.url
    assert "k=5" in link and "new=1" in link
    names = page.locator("#best .name").all_text_contents()
    with opened(browser, link) as other:
        assert session(other, 2) == clicked
        assert other.locator("#best .name").all_text_contents() == names and other.locator("#exclude").is_checked()


def test_scores_are_shares_and_shown_on_demand(page, runs):
    page.locator("#items .item").first.click()
    clicked = session(page, 1)
    (best,) = Recommender.load(runs[0]).answers([clicked], 12)
    chance = np.exp(best.scores)
    figures = page.locator("#best .figure").all_text_contents()
    assert [float(text.split()[0]) for text in figures] == pytest.approx(100 * chance / chance.sum(), abs=0.6)
    assert "Share" in page.text_content("#status")
    page.locator("#scores").check()
    shown = page.locator("#best .figure").first.text_content()
    assert shown.endswith(f"{best.scores[0]:.2f}".replace("-", "\u2212")) and "%" in shown


def test_a_test_session_is_shown_with_the_item_that_was_clicked_next(page, server):
    examples = server.ask("/examples")[1]["examples"]
    best = min(examples, key=lambda one: one["rank"])
    page.locator("#example-list .item").first.click()
    assert session(page, len(best["session"])) == [entry["item"] for entry in best["session"]]
    name = best["next"]["title"] or best["next"]["item"]
    assert name in page.text_content("#truth") and "ranks it" in page.text_content("#truth")
    if best["rank"] <= 12:
        assert page.locator("#best .item.true .name").text_content() == name
    page.locator("#clicks .remove").first.click()
    assert page.locator("#truth").is_hidden()


def test_the_question_is_copied_as_curl_and_as_python(page, server):
    page.locator("#items .item").first.click()
    clicked = session(page, 1)
    press = page.locator(".snippet button").first
    # Pressed twice, it still goes back to its name.
    press.dblclick()
    page.wait_for_selector("text=Copied")
    page.wait_for_timeout(1800)
    assert press.text_content() == "Copy as curl"
    words = shlex.split(page.evaluate("navigator.clipboard.readText()").replace("\\\n", ""))
    assert words[:3] == ["curl", "-s", f"{server.url}/recommend"]
    body = json.loads(words[words.index("-d") + 1])
    assert body == {"session": clicked, "k": 12} and server.ask("/recommend", body)[0] == 200
    page.get_by_role("button", name="Copy as Python").click()
    page.wait_for_function("() => navigator.clipboard.readText().then((text) => text.startsWith('from'))")
    said: list = []
    exec(page.evaluate("navigator.clipboard.readText()"), {"print": said.append})
    assert said == [[entry["item"] for entry in Client(server.url).recommend(clicked, k=12)["items"]]]


def test_the_model_card_tells_data_date_and_results_with_intervals(page, server):
    card = server.ask("/model")[1]
    text = page.text_content("#cards")
    assert card["dataset"] in text and card["trained"] in text
    for metric, name in (("mrr@20", "MRR@20"), ("hit@20", "P@20")):
        low, high = card["intervals"][metric]
        assert low <= card["metrics"][metric] <= high
        assert f"{100 * card['metrics'][metric]:.2f} % (95 % interval {100 * low:.2f} to {100 * high:.2f})" in text
        assert name in text
    assert page.locator("#cards dl").count() == 2


def test_a_second_model_stands_beside_the_first(page, server):
    page.locator("#items .item").first.click()
    clicked = session(page, 1)
    assert page.locator("#other").is_hidden()
    page.select_option("#beside", "counts")
    answered(page)
    wanted = server.ask("/recommend", {"session": clicked, "k": 12, "model": "counts"})[1]["items"]
    assert page.locator("#other .name").all_text_contents() == [one["title"] or one["item"] for one in wanted]
    assert page.text_content("#other-title") == "counts" and "beside=counts" in page.url
