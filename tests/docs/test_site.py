"""The documentation is built without a warning and without network, and its pages load nothing from elsewhere."""

import functools
import http.server
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

pytest.importorskip("material", reason="needs mkdocs-material, the extra docs")
ROOT = Path(__file__).parents[2]
CHROMIUM = "/usr/bin/chromium"
# Every request fails at once: nothing is to be fetched while the site is built.
NO_NETWORK = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
pytestmark = pytest.mark.slow


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(folder)],
        cwd=ROOT,
        env=os.environ | NO_NETWORK | {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def address(site):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_no_page_names_a_script_a_style_or_a_picture_from_elsewhere(site):
    loaded = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=[\"']?(https?://[^\"' >]+)")
    pages = list(site.rglob("*.html"))
    assert len(pages) > 50
    assert {str(page): found for page in pages if (found := loaded.findall(page.read_text()))} == {}


def test_every_model_and_command_is_there(site):
    from recbole_tme.cli import COMMANDS
    from recbole_tme.models.registry import OUR_MODELS

    assert all((site / "models" / f"{name}.html").is_file() for name in OUR_MODELS)
    commands = (site / "reference" / "commands.html").read_text()
    assert all(f'id="{name}"' in commands for name in COMMANDS)


def test_nothing_that_is_to_be_made_was_left_open(site):
    assert [page for page in site.rglob("*.html") if "<!-- made:" in page.read_text()] == []


@pytest.mark.skipif(not os.path.exists(CHROMIUM), reason=f"needs a browser ({CHROMIUM})")
@pytest.mark.parametrize("width", [390, 1280])
def test_pages_fit_the_window_and_ask_nobody_else(address, width):
    playwright = pytest.importorskip("playwright.sync_api")
    pages = ["index", "quick_start", "guide", "models/DANSeR", "results", "reference/api", "reference/settings"]
    asked = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("request", lambda request: asked.append(request.url))
        for name in pages:
            page.goto(f"{address}/{name}.html")
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        browser.close()
    assert len(asked) > len(pages)
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []


@pytest.mark.skipif(not os.path.exists(CHROMIUM), reason=f"needs a browser ({CHROMIUM})")
def test_the_search_finds_the_words_of_a_message(address):
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"{address}/index.html")
        page.fill("input.md-search__input", "transfer broke off")
        page.wait_for_selector(".md-search-result__item", timeout=20_000)
        found = page.locator(".md-search-result__item").all_inner_texts()
        browser.close()
    assert any("Every error message" in text for text in found)


def test_the_citation_and_the_issue_form_hold_what_they_must():
    import recbole_tme

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == recbole_tme.__version__ and citation["cff-version"] and citation["authors"]
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / "problem.yml").read_text())
    asked = {part["attributes"]["label"]: part for part in form["body"]}
    assert asked["What `recbole-tme doctor` prints"]["validations"]["required"]
