"""Names of folders, columns and architectures are text: neither markup of Rich nor HTML."""

import csv
import os
from html.parser import HTMLParser

import pytest

import jaxnas
from jaxnas.cli import main
from jaxnas.report import write_report
from jaxnas.run.advice import ImageSummary
from jaxnas.run.config import run_config
from jaxnas.run.search import search_images
from jaxnas.spaces import SPACES, enumerate_archs
from jaxnas.spaces.declared import choice_space

EVIL = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "' onclick='alert(1)",
    "{{ 7 * 7 }}",
    "javascript:alert(1)",
)
RUNNING = (
    "<script>window.ran=1</script>",
    "</script><img src=x onerror=window.ran=1>",
    "</style><svg onload=window.ran=1>",
    '" onmouseover="window.ran=1',
    "' onclick='window.ran=1",
    "javascript:window.ran=1",
    "a[/red]",
)


class Page(HTMLParser):
    """Collects tags, their attributes, and the text outside of scripts."""

    def __init__(self):
        super().__init__()
        self.tags, self.handlers, self.shown = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.handlers += [name for name, value in attrs if name.startswith("on") or (value or "").startswith("javascr")]

    def handle_data(self, data):
        if self.tags and self.tags[-1] not in ("script", "style"):
            self.shown.append(data)


def parse(text):
    page = Page()
    page.feed(text)
    return page


def search(folder, texts, column):
    table = folder / "table.csv"
    quoted = ['"' + text.replace('"', '""') + '"' for text in (*texts, column)]
    rows = "".join(f"{text},{number},{number * number}\n" for number, text in enumerate(quoted[:-1]))
    table.write_text(f"arch,acc,{quoted[-1]}\n{rows}")
    config = run_config("ids", table=str(table), column="acc", method="random", budget=len(texts))
    run = search_images(config, folder, scores_path=str(table))
    run.save(folder)
    return jaxnas.load_run(folder)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    write_report(search(folder, [f"n{i}" for i in range(len(EVIL))], "up"), folder / "r.html")
    return parse((folder / "r.html").read_text())


@pytest.mark.parametrize("column", [pytest.param(text, marks=[pytest.mark.slow] * (text != EVIL[0])) for text in EVIL])
def test_no_text_of_a_table_becomes_html(tmp_path, plain, column):
    pytest.importorskip("altair")
    run = search(tmp_path, EVIL, column)
    write_report(run, tmp_path / "r.html")
    page = parse((tmp_path / "r.html").read_text())
    assert page.tags.count("script") == plain.tags.count("script")
    assert page.tags.count("img") == plain.tags.count("img")
    assert page.handlers == plain.handlers == []
    shown = "".join(page.shown)
    assert all(text in shown for text in EVIL)
    assert parse(run._repr_html_()).handlers == []
    assert "script" not in parse(run._repr_html_()).tags


def check_page(browser, path, texts):
    """Check that no text of a page runs, at once or at a click, and that all of them are shown."""
    browser.get_log("browser")
    browser.get(path.as_uri())
    assert browser.execute_script("return document.querySelectorAll('svg, table').length") > 0
    browser.execute_script(
        "document.querySelectorAll('td, th, dd, summary').forEach(e => {"
        " for (const kind of ['mouseover', 'click', 'focus']) e.dispatchEvent(new Event(kind, {bubbles: true})) })"
    )
    assert browser.execute_script("return window.ran") is None
    assert browser.execute_script("return document.querySelectorAll('img, iframe, object, embed').length") == 0
    assert browser.execute_script("return document.querySelectorAll('[href^=\"javascript:\"]').length") == 0
    shown = browser.execute_script("return document.body.textContent")
    assert [text for text in texts if text not in shown] == []
    assert browser.get_log("browser") == []
    with pytest.raises(Exception, match="no such alert"):
        browser.switch_to.alert.accept()


@pytest.mark.slow
def test_no_text_runs_in_a_browser(browser, tmp_path):
    """Each text would set a mark, add an element or open a dialog if it ran."""
    pytest.importorskip("altair")
    folder = tmp_path / "a[/red]<img src=x onerror=window.ran=1>"
    folder.mkdir(parents=True)
    run = search(folder, RUNNING, RUNNING[1])
    classes = (*RUNNING, '" onfocus="window.ran=1" autofocus="')
    images = ImageSummary(RUNNING[0], (8, 6, 3), classes, 60, 40, 20, 52.5)
    write_report(run._replace(images=images, notes=RUNNING), folder / "r.html")
    check_page(browser, folder / "r.html", classes)


@pytest.mark.slow
def test_no_text_of_a_declared_space_or_of_a_proxy_runs_in_a_browser(browser, tmp_path, monkeypatch):
    """The name of the space, the options of its choices, and the proxies, as a plugin can name them."""
    pytest.importorskip("altair")
    options = tuple(text for text in RUNNING if ":" not in text)  # which separates them
    space = choice_space(RUNNING[0], (options[:3], options[3:]))
    monkeypatch.setitem(SPACES, space.name, space)
    archs = [space.format(arch) for arch in enumerate_archs(space)]
    names = ["arch", "acc", *RUNNING[1:4]]
    with open(tmp_path / "t.csv", "w", newline="") as file:
        csv.writer(file).writerows([names, *([arch, n, n % 3, n % 4, n % 5] for n, arch in enumerate(archs))])
    config = run_config(space.name, table=str(tmp_path / "t.csv"), column="acc", budget=6)
    run = search_images(config, tmp_path, scores_path=str(tmp_path / "t.csv"))
    run.save(tmp_path)
    write_report(jaxnas.load_run(tmp_path), tmp_path / "r.html")
    check_page(browser, tmp_path / "r.html", (space.name, *names, run.selected))


@pytest.mark.parametrize("name", ["a[/red]", "[x]", "[bold]b", "\\[c]", "[link=x]d"])
def test_a_folder_is_printed_as_it_is_named(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    os.makedirs(name)
    for args in (["report", name], ["search", "--scores", f"{name}.csv"], ["predict", name, "x.png"], ["train", name]):
        monkeypatch.setattr("sys.argv", ["jaxnas", *args])
        monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code == 2
        assert name in capsys.readouterr().err
