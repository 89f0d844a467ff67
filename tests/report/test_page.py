"""The report as a file and in a real browser: it loads without errors, and hovering and sorting work."""

import dataclasses
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from jaxnas.errors import InputError
from jaxnas.objectives.training import TrainingConfig
from jaxnas.report import read_results, write_report
from jaxnas.report.charts import run_charts
from jaxnas.report.groups import group_methods
from jaxnas.report.page import render
from jaxnas.report.score_charts import COMBINED
from jaxnas.run.advice import ImageSummary
from jaxnas.run.config import CompareConfig
from jaxnas.run.method_runs import MethodComparison, method_rows
from jaxnas.table.evaluation import spearman
from jaxnas.table.normalize import combine, normalize

IMAGES = ImageSummary("pets", (8, 6, 3), ("cat", "<dog>"), 60, 40, 20, 52.5)


@pytest.fixture(scope="module")
def page(search, tmp_path_factory):
    """Return the report of one search that was compared with random search."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_report(search(compare="random")._replace(images=IMAGES, notes=("train longer",)), path)
    return path


@pytest.fixture(scope="module")
def several(search, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "several.html"
    write_report([search(seed, compare="random") for seed in range(3)], path)
    return path


def test_a_search_on_images_names_its_classes_and_intervals(page):
    text = page.read_text()
    for part in ("classes: 2: cat, &lt;dog&gt;", "60 training, 40 validation, 20 test; 6x8x3", "Note: train longer"):
        assert part in text
    assert len(re.findall(r"<dt>(?:valid|test)</dt><dd>[\d.]+ \([\d.]+ to [\d.]+\)</dd>", text)) == 2


def specs_of(text):
    return json.loads(re.search(r'<script type="application/json" id="specs">(.*?)</script>', text, re.DOTALL)[1])


def data_of(spec, field):
    """Return the rows of the dataset that has a given field in a chart."""
    (rows,) = [rows for rows in spec["datasets"].values() if rows and field in rows[0]]
    return rows


def test_charts_show_the_numbers_of_the_run(search):
    run = search()
    charts = {shown.title: shown for shown in run_charts(run)}
    result = run.outcomes["robot"].result
    progress = charts["Best found against queries: robot"].spec
    best = [row["best"] for row in data_of(progress, "best")]
    np.testing.assert_allclose(best, np.maximum.accumulate(result.objective), rtol=1e-5)
    assert [row["phase"] for row in data_of(progress, "phase")] == list(result.phase)
    assert {row["arch"] for row in data_of(progress, "phase")} == {row["arch"] for row in run.rows()}
    cells = data_of(charts["Proxies against each other"].spec, "rho")
    rho = {(row["a"], row["b"]): row["rho"] for row in cells}
    values = run.scores.values
    both = np.isfinite(values[:, 1])
    assert rho["snip", "synflow"] == pytest.approx(float(spearman(values[both, 0], values[both, 1])), rel=1e-4)
    table, _ = normalize(values)
    combined = combine(table, result.weights)
    points = {row["arch"]: row for row in data_of(charts["Proxies against valid"].spec, "ranks")}
    for row, arch in zip(run.rows(), result.queries, strict=True):
        below = 100 * (combined < combined[arch]).sum() / (len(combined) - 1)
        assert points[row["arch"]]["ranks"][COMBINED] == pytest.approx(below, rel=1e-4)
    bars = data_of(charts["Scores of the pool"].spec, "count")
    assert sum(row["count"] for row in bars if row["proxy"] == "mine") == len(values)
    found = [
        row["weight"] for row in data_of(charts["Weights of the proxies"].spec, "weight") if row["query"] == "found"
    ]
    np.testing.assert_allclose(found, result.weights, rtol=1e-5, atol=1e-6)


def test_a_search_that_minimises_is_shown_in_its_own_unit(search):
    """The axis leaves out failures above it, and nothing is called an accuracy."""
    run = search(method="random", minimize=True)
    result = run.outcomes["random"].result
    worst = result.objective.copy()
    worst[int(np.argmax(worst))] = 1e6
    outcome = run.outcomes["random"]._replace(result=dataclasses.replace(result, objective=worst))
    charts = {shown.title: shown for shown in run_charts(run._replace(outcomes={"random": outcome}))}
    progress = charts["Best found against queries: random"]
    assert "Above the axis, drawn on its upper edge: 1." in progress.caption
    (domain,) = re.findall(r'"domainMax": ([\d.]+)', json.dumps(progress.spec["layer"][1]))
    assert np.sort(worst)[-2] <= float(domain) < 1e6
    assert f"to {result.best:.6g}. " in progress.text
    assert "Proxies against valid" in charts
    text = json.dumps([(shown.spec, shown.text, shown.caption) for shown in charts.values()])
    assert "ccuracy" not in text
    assert "The search minimises" in charts["Proxies against each other"].caption


def test_the_surrogate_is_shown_at_each_query_that_it_chose(search):
    run = search()
    result = run.outcomes["robot"].result
    (shown,) = [chart for chart in run_charts(run) if chart.title == "Surrogate of the search: robot"]
    rows = data_of(shown.spec, "acquisition")
    chosen = np.flatnonzero(np.array(result.phase) == "bo")[1:]  # the first weights are drawn
    assert [row["query"] for row in rows] == (chosen + 1).tolist()
    np.testing.assert_allclose([row["acquisition"] for row in rows], result.info.acquisition[chosen], rtol=1e-5)
    np.testing.assert_allclose([row["length scale"] for row in rows], result.info.lengthscale[chosen, 0], rtol=1e-5)
    np.testing.assert_allclose([row["log evidence"] for row in rows], result.info.log_evidence[chosen], rtol=1e-5)
    np.testing.assert_allclose([row["objective"] for row in rows], result.objective[chosen], rtol=1e-5)
    assert f"log evidence {result.info.log_evidence[chosen[-1]]:.1f} nats" in shown.text


@pytest.mark.parametrize(("method", "ends_greedy"), [("robot", True), ("proxy_gp", False)])
def test_only_a_search_that_ends_greedily_has_a_line_where_that_begins(search, method, ends_greedy):
    """The first query of `proxy_gp` is greedy too, but no later one."""
    run = search(method=method)
    phases = run.outcomes[method].result.phase
    assert "greedy" in phases
    assert (phases[-1] == "greedy") == ends_greedy
    (progress,) = [chart for chart in run_charts(run) if chart.title.startswith("Best found")]
    assert ("greedy alone" in json.dumps(progress.spec)) == ends_greedy


def test_a_method_without_weights_has_no_chart_of_them(search):
    titles = [shown.title for shown in run_charts(search(method="random"))]
    assert "Weights of the proxies" not in titles
    assert not any(title.startswith("Surrogate") for title in titles)
    assert "Best found against queries: random" in titles


def test_one_file_without_a_network_of_less_than_three_megabytes(search, page):
    text = page.read_text()
    assert len(text) < 3e6
    assert "default-src 'none'" in text
    loads = re.findall(r'(?:src|href)="([^"]*)"', text[: text.index('id="specs"')])
    assert all(link.startswith(("#", "data:")) for link in loads)
    for said in ("80", search(compare="random").selected, "jaxlib" if "jaxlib" in text else "jax", "seed", "device"):
        assert said in text


def test_the_table_has_the_score_of_every_query(search, page):
    run = search(compare="random")
    table, _ = normalize(run.scores.values)
    scores = combine(table, run.outcomes["robot"].result.weights)
    for outcome in run.outcomes.values():
        for arch in outcome.result.queries:
            assert f'data-value="{scores[arch]}"' in page.read_text()


def test_every_chart_has_a_text_and_every_id_is_there_once(page):
    text = page.read_text()

    class Reader(HTMLParser):
        ids, labels, open_tags = [], [], []

        def handle_starttag(self, tag, attrs):
            values = dict(attrs)
            self.ids += [values["id"]] if "id" in values else []
            self.labels += [values.get("aria-label", "")] if values.get("class") == "chart" else []

    reader = Reader()
    reader.feed(text[: text.index('<script type="application/json"')])
    assert len(set(reader.ids)) == len(reader.ids)
    assert len(reader.labels) == len(specs_of(text)) == 8
    assert all(len(label) > 30 for label in reader.labels)


def test_text_of_a_user_stays_text(search):
    run = search()
    hostile = "</script><script>alert(1)</script><b>"
    scores = run.scores._replace(proxies=(hostile, *run.scores.proxies[1:]))
    text = render([run._replace(scores=scores, command=hostile)])
    body = text[: text.index("window.") if "window." in text else None]
    assert hostile not in body
    assert hostile in json.dumps(specs_of(text))
    assert "&lt;/script&gt;" in text


def test_runs_that_differ_in_the_seed_alone_are_one_group(search):
    groups = group_methods([search(seed, compare="random") for seed in (2, 0, 1)])
    assert list(groups) == ["robot", "random"]
    assert groups["robot"].seeds.tolist() == [2, 0, 1]
    assert groups["robot"].best.shape == (3, 8)
    np.testing.assert_array_equal(
        groups["random"].test, [search(s, compare="random").outcomes["random"].test_accuracy for s in (2, 0, 1)]
    )
    mixed = group_methods([search(), search(normalization="rank")])
    assert list(mixed) == ["robot, normalization minmax", "robot, normalization rank"]
    # The seed of a training follows that of the search.
    short, longer = (search(seed, training=TrainingConfig(epochs=6 + seed, seed=seed)) for seed in (0, 1))
    assert list(group_methods([short, longer])) == ["robot, training epochs 6", "robot, training epochs 7"]


def test_the_paired_test_is_over_seeds_that_both_have(search):
    groups = group_methods([search(0), search(1), search(1, method="random"), search(2, method="random")])
    row = method_rows(groups)[1]
    difference = groups["random"].test[0] - groups["robot"].test[1]
    assert row["against_first"]["difference"] == pytest.approx(difference)
    assert row["seeds"] == 2
    apart = group_methods([search(0), search(2, method="random")])
    assert method_rows(apart)[1]["against_first"] is None


def test_the_page_says_what_won(page, several):
    text = page.read_text()
    assert re.search(r"<p>(Best: |robot and random are equally good on )[^<]*one shared seed", text)
    assert re.search(r"by random: .*\d", text)
    assert re.search(r"<p>(Best: |robot and random are equally good on )[^<]*3 shared seeds", several.read_text())


def test_methods_on_different_problems_are_not_compared(search):
    other = search(method="random")
    config = dataclasses.replace(other.config, problem=dataclasses.replace(other.config.problem, column="test"))
    text = render([search(), other._replace(config=config)])
    assert not re.search("<p>(Best: |[^<]*equally good)", text)
    rows = re.findall(r"<tr>\s*<td>(?:robot|random)[^<]*</td>.*?</tr>", text, re.DOTALL)
    assert [row.count('data-value="">-') for row in rows[-2:]] == [2, 2]


def test_a_comparison_and_searches_share_a_page(search):
    groups = group_methods([search(seed, compare="random") for seed in range(2)])
    comparison = MethodComparison(CompareConfig(), groups, {"jax": "1"})
    text = render([comparison, search()])
    assert "1 search and 1 comparison" in text
    assert {row["method"] for row in data_of(specs_of(text)["chart-0"], "mean")} == {
        "robot",
        "random",
        "robot on nasbench201 (c10_valid_val_12)",
    }


def test_what_cannot_be_reported(tmp_path, search, monkeypatch):
    with pytest.raises(InputError, match="no finished search"):
        read_results(tmp_path)
    with pytest.raises(InputError, match="nothing to report"):
        write_report([], tmp_path / "x.html")
    monkeypatch.setattr("jaxnas.report.page.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"jaxnas\[report\]"):
        write_report(search(), tmp_path / "x.html")
    assert not (tmp_path / "x.html").exists()


def open_page(browser, path):
    """Load a page and draw all its charts; return the messages of the console and the network requests."""
    browser.get_log("browser"), browser.get_log("performance")
    browser.get(path.as_uri())
    browser.execute_script("document.querySelectorAll('.chart').forEach(draw)")
    wait_for(browser, "[...document.querySelectorAll('.chart')].every(c => c.dataset.ready || !c.offsetParent)")
    sent = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    asked = [each["params"]["request"]["url"] for each in sent if each["method"] == "Network.requestWillBeSent"]
    return browser.get_log("browser"), [url for url in asked if not url.startswith(("file:", "data:"))]


def wait_for(browser, condition, seconds=20):
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, seconds).until(lambda driver: driver.execute_script(f"return {condition}"))


def test_the_browser_has_nothing_to_complain_of(browser, page, several):
    for path in (page, several):
        assert open_page(browser, path) == ([], [])
        assert browser.execute_script("return document.querySelectorAll('.chart svg .mark-symbol').length") > 0


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (1200, "dark"), (360, "light")])
def test_it_fits_a_phone_and_follows_the_colours_of_the_system(browser, page, width, scheme):
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    open_page(browser, page)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    colour = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
    page_is, label_is = (
        sum(map(int, re.findall(r"\d+", browser.execute_script(colour, *at))[:3]))
        for at in (("body", "backgroundColor"), (".chart svg .role-axis-label text", "fill"))
    )
    assert (page_is > label_is) == (scheme == "light")
    assert abs(page_is - label_is) > 380  # the sum of three channels is at most 765: text is readable on its background
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_hovering_over_a_query_tells_what_it_is(browser, search, page):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    open_page(browser, page)
    (point, *_) = browser.find_elements(By.CSS_SELECTOR, "#chart-1 .mark-symbol.role-mark path")
    ActionChains(browser).scroll_to_element(point).move_to_element(point).perform()
    wait_for(browser, "document.querySelector('#vg-tooltip-element.visible') !== null")
    told = browser.find_element(By.ID, "vg-tooltip-element").text
    assert any(row["arch"] in told for row in search(compare="random").rows())


def test_a_table_is_sorted_by_mouse_and_by_keyboard(browser, search, page):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    open_page(browser, page)
    table = browser.find_element(By.CSS_SELECTOR, "[aria-label='Every query'] table")
    headings = table.find_elements(By.TAG_NAME, "th")
    number = [heading.text for heading in headings].index("valid")

    def column():
        return [
            float(row.find_elements(By.TAG_NAME, "td")[number].text)
            for row in table.find_elements(By.CSS_SELECTOR, "tbody tr")
        ]

    asked = sorted(float(f"{row['objective']:.6g}") for row in search(compare="random").rows())
    headings[number].find_element(By.TAG_NAME, "button").click()
    assert column() == asked
    assert headings[number].get_attribute("aria-sort") == "ascending"
    headings[number].find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert column() == asked[::-1]
    assert headings[number].get_attribute("aria-sort") == "descending"


def test_another_proxy_can_be_chosen(browser, page):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select

    open_page(browser, page)
    (choice, *_) = browser.find_elements(By.CSS_SELECTOR, ".vega-bind select")
    chart = browser.execute_script("return arguments[0].closest('.chart').id", choice)
    place = f"document.querySelector('#{chart} .mark-symbol path').getAttribute('transform')"
    before = browser.execute_script(f"return {place}")
    Select(choice).select_by_visible_text("mine")
    wait_for(browser, f"{place} !== '{before}'")
