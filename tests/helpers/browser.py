"""A headless browser for tests of pages, and axe-core's judgement of what it shows."""

import shutil
from contextlib import contextmanager

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"] + [
    f"--disable-{part}" for part in ("background-networking", "component-update", "sync")
]
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
SIZES = pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark"])


@contextmanager
def launched():
    """A browser; skips the test where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (extra test)")
    if CHROMIUM is None:
        pytest.skip("needs a browser (chromium)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@contextmanager
def opened(browser, url, size=DESK, scheme="light", **options):
    """A page of its own; it must complain of nothing and ask nobody but the server of its address."""
    context = browser.new_context(viewport=size, color_scheme=scheme, **options)
    page, requests, complaints = context.new_page(), [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(url)
    yield page
    context.close()
    home = url if url.startswith("file:") else "/".join(url.split("/")[:3])
    foreign = [asked for asked in requests if not asked.startswith((home, "blob:"))]
    assert complaints == [] and foreign == []


def answered(page) -> None:
    """Wait until the demo page shows the answers to all that it has asked."""
    page.wait_for_function("() => document.querySelector('main').ariaBusy === 'false'")


def violations(page) -> list[str]:
    """What axe-core finds wrong with a page, a line each: the rule and the first element."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="needs axe-playwright-python (extra test)"
    )
    # Colours are compared when no change of them is under way.
    page.evaluate("Promise.all(document.getAnimations().map((one) => one.finished))")
    found = axe.Axe().run(page).response["violations"]
    return [f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]}" for one in found]


def unfold(page) -> None:
    """Open whatever is folded."""
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
