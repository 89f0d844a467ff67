"""Fixtures: searches on a small table, and a real browser."""

import shutil

import numpy as np
import pytest

from jaxnas.run.config import run_config
from jaxnas.run.run import Run
from jaxnas.run.search import search_images
from jaxnas.spaces import NASBENCH201, sample
from tests.integration import require

POOL, PROXIES = 60, ("snip", "synflow", "mine")


@pytest.fixture(scope="session")
def table_files(tmp_path_factory):
    """Return scores by three proxies and two accuracies of 60 cells; the first proxy is predictive, a score is NaN."""
    folder, draw = tmp_path_factory.mktemp("table"), np.random.default_rng(0)
    texts = [NASBENCH201.format(arch) for arch in sample(NASBENCH201, POOL, seed=1)]
    accuracy = draw.uniform(80, 95, POOL)
    scores = np.column_stack([accuracy + draw.normal(0, 1, POOL), draw.lognormal(50, 30, POOL), draw.normal(size=POOL)])
    rows = [",".join([text, *map(str, row)]) for text, row in zip(texts, scores, strict=True)]
    rows[7] = f"{texts[7]},{scores[7, 0]},,{scores[7, 2]}"
    (folder / "scores.csv").write_text("\n".join([",".join(["arch", *PROXIES]), *rows]))
    lines = [f"{text},{value},{value - 1}" for text, value in zip(texts, accuracy, strict=True)]
    (folder / "accuracy.csv").write_text("\n".join(["arch,valid,test", *lines]))
    return folder / "scores.csv", folder / "accuracy.csv"


@pytest.fixture(scope="session")
def search(table_files, tmp_path_factory):
    """Return a function that runs a search of eight queries by seed; equal calls give the same `Run`."""
    scores, table = table_files
    known: dict[tuple, Run] = {}

    def run(seed=0, **settings) -> Run:
        key = (seed, *sorted(settings.items()))
        if key not in known:
            fixed = dict(table=str(table), column="valid", test_column="test", budget=8, method="robot")
            config = run_config(**{**fixed, "seed": seed, **settings})
            known[key] = search_images(config, tmp_path_factory.mktemp("run"), scores_path=scores)
        return known[key]

    return run


@pytest.fixture(scope="session")
def browser():
    """Start headless Chromium driven by Selenium, which logs the console and the network requests."""
    selenium = require("selenium.webdriver")
    paths = [
        next(filter(None, map(shutil.which, names)), None)
        for names in (("chromium", "chromium-browser", "google-chrome"), ("chromedriver",))
    ]
    if None in paths:
        pytest.skip("no Chromium with its driver: install the Debian packages chromium and chromium-driver")
    options = selenium.ChromeOptions()
    options.binary_location = paths[0]
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1200,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = selenium.Chrome(options=options, service=selenium.ChromeService(paths[1]))
    yield driver
    driver.quit()
