"""Take the screenshots of a report that the README shows.

    python experiments/gallery.py [RUN]

The script renders the report of a run in headless Chromium. RUN is the folder of a finished search; without it, the
script first runs `jaxnas search --compare random` (two minutes on two cores). It needs the extra `test-integration`,
Chromium and its driver (Debian packages chromium and chromium-driver). It writes results/report-light.png,
results/report-dark.png and results/report-narrow.png.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

from jaxnas.cli.terminal import configure_jax
from jaxnas.report import read_results, write_report
from jaxnas.run.config import run_config
from jaxnas.run.search import search_images
from jaxnas.runtime.files import atomic_write

RESULTS = Path(__file__).parent / "results"
SHOTS = {"light": (1100, 1500, "light"), "dark": (1100, 1500, "dark"), "narrow": (390, 1500, "light")}


def main(
    run: Annotated[Path | None, typer.Argument(help="Folder of a search.")] = None,
) -> None:
    """Take the screenshots of a report that the README shows."""
    configure_jax()
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "report.html")
        write_report(read_results(run) if run else search_images(run_config(compare="random"), Path(folder)), page)
        browser = open_browser()
        for name, shot in SHOTS.items():
            with atomic_write(RESULTS / f"report-{name}.png") as partial:
                partial.write_bytes(picture(browser, page, *shot))
        browser.quit()


def open_browser() -> webdriver.Chrome:
    """Start headless Chromium with the installed driver."""
    options = webdriver.ChromeOptions()
    options.binary_location = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))))
    for argument in ("--headless=new", "--no-sandbox", "--hide-scrollbars"):
        options.add_argument(argument)
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))


def picture(browser: webdriver.Chrome, page: Path, width: int, height: int, scheme: str) -> bytes:
    """Return the top of a page as PNG after its charts are drawn."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    colours = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": colours})
    browser.get(page.as_uri())
    browser.execute_script("document.querySelectorAll('.chart').forEach(draw)")
    drawn = "return [...document.querySelectorAll('.chart')].every(c => c.dataset.ready || !c.offsetParent)"
    WebDriverWait(browser, 30).until(lambda shown: shown.execute_script(drawn))
    return browser.get_screenshot_as_png()


if __name__ == "__main__":
    typer.run(main)
