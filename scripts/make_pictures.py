"""Make docs/pictures: a report and the demo page of ``serve``, as a browser shows them.

    .venv/bin/python scripts/make_pictures.py [FOLDER]

Trains the models of the report on the data that every install has, into FOLDER (default runs/pictures), about ten
minutes on two cores; finished runs are used again. Needs the extra test and a chromium.
"""

import shutil
import subprocess
import sys
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

import recbole_tme

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
TRAINED = [f"{name} epochs=2" for name in ("DANSeR", "TMEGNN", "SRGNN")]
COUNTED = ["LastItemKNN", "SR", "SFSKNN", "VSKNN", "VSTAN", "STAN", "SKNN", "OwnItemsFirst", "SPop"]
# The models of the demo page; the second one stands beside the first.
SERVED, BESIDE = "DANSeR", "LastItemKNN"
DESK, PHONE = {"width": 1280, "height": 860}, {"width": 390, "height": 844}
SCALE = 1.5
MOST_BYTES = 150_000
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/pictures")
    PICTURES.mkdir(parents=True, exist_ok=True)
    compared = recbole_tme.compare(
        [*TRAINED, *COUNTED], seeds=3, threads=1, run_dir=str(folder / "runs"), out=folder / "report"
    )
    best = {name: next(run.path for run in compared.runs if run.path.parent.name == name) for name in (SERVED, BESIDE)}
    with sync_playwright() as driver, serving(best[SERVED], best[BESIDE]) as demo:
        browser = driver.chromium.launch(executable_path=chromium(), args=QUIET)
        take(browser, (folder / "report" / "report.html").resolve().as_uri(), demo)
        browser.close()


def take(browser, report: str, demo: str) -> None:
    """Take every picture of a report and of a demo page, given by their addresses."""
    for scheme in ("light", "dark"):
        with opened(browser, report, DESK, scheme) as page:
            save(page.screenshot(), f"report-{scheme}")
        with opened(browser, f"{demo}/#beside={BESIDE}", DESK, scheme) as page:
            fill(page)
            save(page.screenshot(), f"demo-{scheme}")
    with opened(browser, report, PHONE, "light") as page:
        save(page.screenshot(), "report-phone")
    with opened(browser, report, DESK, "light") as page:
        save(page.locator("section[aria-labelledby=d1-differences] .figures").screenshot(), "report-differences")
        save(page.locator(".duel").screenshot(), "report-pairs")
        save(page.locator("section[aria-labelledby=d1-costs] .figures").screenshot(), "report-costs")
    with opened(browser, demo, PHONE, "light") as page:
        fill(page)
        save(page.screenshot(), "demo-phone")


def fill(page) -> None:
    """Choose the test session that the model does best on."""
    page.locator("#example-list .item").first.click()
    page.wait_for_function("() => document.querySelector('#clicks .figure')?.textContent")
    page.wait_for_load_state("networkidle")
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")


@contextmanager
def opened(browser, address: str, size: dict, scheme: str):
    """A page at its top, whole."""
    page = browser.new_page(viewport=size, color_scheme=scheme, device_scale_factor=SCALE)
    page.goto(address)
    page.wait_for_load_state("networkidle")
    yield page
    page.close()


@contextmanager
def serving(run: Path, beside: Path):
    """The address of a server of two runs."""
    command = [sys.executable, "-m", "recbole_tme", "serve", f"--model={SERVED}={run}", f"--model={BESIDE}={beside}"]
    process = subprocess.Popen([*command, "--port=0"], stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        if not line.startswith("http"):
            raise SystemExit("the server did not start")
        yield line.split()[0]
    finally:
        process.terminate()
        process.wait()


def save(png: bytes, name: str) -> None:
    """Write a picture as WebP, as good as fits in :data:`MOST_BYTES`."""
    image = Image.open(BytesIO(png)).convert("RGB")
    for quality in (80, 70, 60, 50):
        content = BytesIO()
        image.save(content, "webp", quality=quality, method=6)
        if len(content.getvalue()) <= MOST_BYTES:
            break
    (PICTURES / f"{name}.webp").write_bytes(content.getvalue())
    print(f"docs/pictures/{name}.webp: {len(content.getvalue()) / 1000:.0f} kB, quality {quality}")


def chromium() -> str:
    """Where the browser is."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        raise SystemExit("needs a browser: apt-get install chromium")
    return found


if __name__ == "__main__":
    main()
