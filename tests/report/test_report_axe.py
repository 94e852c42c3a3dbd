"""What axe-core finds wrong with the report's page: nothing, whatever the screen and the colours."""

import pytest
from helpers.browser import SCHEMES, SIZES, opened, unfold, violations
from helpers.report_runs import make_run, some_ranks

from recbole_tme.report.comparison import write_report


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A report with each part that a page can have, of few models: axe-core looks at every cell."""
    folder = tmp_path_factory.mktemp("axe")
    for number, name in enumerate(("Good", "Fair", "SPop")):
        for seed in (1, 2)[: 2 - (name == "SPop")]:
            make_run(folder / "runs", name, some_ranks(6.0 + 3 * number, 10 * number + seed), seed, epochs=3)
    failures = [{"model": "Gone", "seed": 1, "reason": "out of memory", "log": "gone.txt"}]
    write_report([folder / "runs"], folder / "out", failures=failures, plan={"command": "recbole-tme compare"})
    return (folder / "out" / "report.html").as_uri()


@SIZES
@SCHEMES
def test_axe_finds_nothing(browser, address, size, scheme):
    with opened(browser, address, size, scheme) as page:
        # A figure's words are part of the page while it has the focus.
        page.locator("figure.chart .plane").first.focus()
        page.keyboard.press("ArrowRight")
        unfold(page)
        assert violations(page) == []
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
