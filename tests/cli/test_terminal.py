"""The display of progress: bars for every stage in a terminal, lines elsewhere."""

import io
import re

import numpy as np
import pytest
from rich.console import Console

import jaxnas
from jaxnas.cli import progress, terminal
from jaxnas.runtime import bars
from jaxnas.runtime.events import (
    Downloaded,
    Noted,
    PartDamaged,
    QueryAnswered,
    Scored,
    SearchStarted,
    SeedsFinished,
    StageStarted,
    TrainingProgress,
)
from jaxnas.runtime.pace import Jobs, make_bars, memory, pace, seconds_left, speed
from tests.tiny import TinyNetwork

WIDTH = 80
NETWORK = TinyNetwork()
BATCH = jaxnas.Batch(np.random.default_rng(0).normal(size=(4, 5, 5, 2)).astype(np.float32), np.array([0, 1, 2, 0]))


def show(monkeypatch, is_terminal):
    """Return the text of all events of a search on a console of the given kind."""
    out = io.StringIO()
    monkeypatch.setattr(bars, "status", Console(file=out, force_terminal=is_terminal, width=WIDTH, color_system=None))
    monkeypatch.setattr(bars, "QUIET_INTERVAL", 0.0)
    with progress.progress() as report:
        report(SearchStarted("title", {}, str))  # nothing to show
        report(StageStarted("scoring"))
        report.bars.refresh()
        report(Scored(4, 10))
        report(PartDamaged("parts/ab.parquet", "ab.parquet is damaged"))
        report(Scored(6, 10))
        report(Scored(8, 10))
        report.bars.refresh()
        report(Scored(10, 10))
        report(StageStarted("robot"))
        report(TrainingProgress(1, 2, 30, 40, np.array([0.5]), np.array([81.25]), 63.4, (3,)))
        report.bars.refresh()
        report(TrainingProgress(2, 2, 40, 40, np.array([0.5, np.nan]), np.array([80.0, 9.0]), 0.0, (3, 4)))
        report.bars.refresh()
        report(QueryAnswered(1, 2, "bo", 3, 91.5, 0.7, 91.5))
        report(QueryAnswered(2, 2, "greedy", 5, np.nan, np.nan, 91.5))
        report(StageStarted("random"))
        for done in (0, 10, 20):
            report(SeedsFinished("random", done, 100))
        report.bars.refresh()
        report(Downloaded(10, None))
        report(Downloaded(20, 20))
        report(Noted("pets: 12 images"))
        report(Noted("1 image cannot be read", is_warning=True))
        report.bars.refresh()
    return out.getvalue()


@pytest.mark.parametrize("is_terminal", [True, False])
def test_every_event_is_shown(monkeypatch, is_terminal):
    text = show(monkeypatch, is_terminal)
    for part in (
        "scoring: ",
        "4 of 10 architectures were scored before",
        "architectures scored",
        "warning: ab.parquet is damaged",
        "/s, ",
        " MB",
        "loss 0.500, 81.2 %" if is_terminal else "epoch 1 of 2, loss 0.500, training accuracy 81.2 %",
        "training 2 together",
        "loss 0.500/",
        "random: seeds",
        "bytes",
        "pets: 12 images\n",
        "warning: 1 image cannot be read\n",
    ):
        assert part in text
    assert "query  1/2 (bo):  91.50 %   best 91.50 %   0.7 s   about 0:00:01 to go" in text
    assert "training: steps" in text
    assert "47.3/min, 0:01:03 to go" in text
    assert "query  2/2 (greedy): diverged, the search continues   best 91.50 %\n" in text
    assert ("━" in text) == is_terminal
    assert ("first scores after" in text) != is_terminal
    assert re.search(r"architectures scored.*\d/s, 0:00:\d\d to go", text)
    assert re.search(r"random: seeds.*\d/s, 0:00:\d\d to go", text)
    if is_terminal:
        assert all(len(line) <= WIDTH for line in re.split(r"[\r\n]|\x1b\[[0-9;?]*[A-Za-z]", text))


def test_pace_counts_from_the_first_chunk(monkeypatch):
    bars = make_bars(Console(file=io.StringIO()), disable=True)
    now = 100.0
    bars.get_time = lambda: now
    jobs = Jobs(bars)
    assert pace(jobs.advance("scored", 4, 100)) == ""  # found in the store
    now = 160.0  # the program has compiled
    assert pace(jobs.advance("scored", 10, 100)) == ""
    now = 162.0
    task = jobs.advance("scored", 30, 100)
    assert (speed(task), seconds_left(task)) == (10.0, 7.0)
    assert pace(task) == "10.0/s, 0:00:07 to go"
    assert pace(jobs.advance("scored", 2, 50)) == ""  # the next of several files


def test_memory_is_in_megabytes():
    measured = memory()
    assert measured["rss_mb"] is None or 10 < measured["rss_mb"] < 1e6


def test_brackets_are_printed_as_they_are(capsys):
    """An extra or a path in brackets is not markup."""
    terminal.console.print("pip install jaxnas[plot]")
    bars.status.print("a/[red]b")
    assert capsys.readouterr() == ("pip install jaxnas[plot]\n", "a/[red]b\n")


@pytest.mark.parametrize(
    ("wanted", "is_terminal", "shown"),
    [(None, True, True), (None, False, False), (True, False, True), (False, True, False)],
)
def test_a_job_in_python_shows_bars_in_a_terminal(monkeypatch, wanted, is_terminal, shown):
    out, events = io.StringIO(), []
    monkeypatch.setattr(bars, "status", Console(file=out, force_terminal=is_terminal, width=WIDTH, color_system=None))
    with bars.showing(events.append, wanted) as listener:
        listener(QueryAnswered(1, 2, "bo", 3, 91.5, 0.7, 91.5))
    assert [event.number for event in events] == [1]
    assert ("query  1/2 (bo):  91.50" in out.getvalue()) == shown


def in_terminal(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(bars, "status", Console(file=out, force_terminal=True, width=WIDTH, color_system=None))
    return out


def test_scoring_and_queries_in_python_are_shown_in_a_terminal(monkeypatch):
    out = in_terminal(monkeypatch)
    archs = jaxnas.sample(NETWORK.space, 4, seed=0)
    scores = jaxnas.score_archs(NETWORK, archs, BATCH, {"largest": lambda q: q.logits.max()})
    assert "scoring: compiling" in out.getvalue()
    assert "4/4" in out.getvalue()
    found = jaxnas.random_search(scores, lambda row: row / 4, budget=2, seed=0)
    assert f"query  1/2 (random): {found.objective[0]:>8g}   best" in out.getvalue()
    assert "%" not in out.getvalue().split("query")[1]
    before = out.getvalue()
    jaxnas.score_archs(NETWORK, archs, BATCH, {"largest": lambda q: q.logits.max()}, progress=False)
    jaxnas.random_search(scores, lambda row: row / 4, budget=2, seed=0, progress=False)
    jaxnas.random_search(scores, np.arange(4.0), budget=2, seed=0)
    assert out.getvalue() == before


def test_a_job_within_a_job_shows_no_bars_of_its_own(monkeypatch):
    out = in_terminal(monkeypatch)
    archs = jaxnas.sample(NETWORK.space, 4, seed=0)

    def objective(row):
        return jaxnas.score_archs(NETWORK, archs[[row]], BATCH, {"largest": lambda q: q.logits.max()}).item()

    jaxnas.random_search(np.zeros((4, 1)), objective, budget=2, seed=0)
    assert "query  2/2" in out.getvalue()
    assert "scored" not in out.getvalue()
    with pytest.raises(ZeroDivisionError), bars.show_bars():
        raise ZeroDivisionError
    assert not bars.BarReporter.is_shown


class Tee:
    """What users put in the place of stdout."""

    def write(self, text):
        """Ignore a text."""

    def flush(self):
        """Do nothing."""


@pytest.mark.parametrize("stream", [None, Tee()])
def test_bars_need_nothing_of_stdout(monkeypatch, stream):
    out = in_terminal(monkeypatch)
    monkeypatch.setattr("sys.stdout", stream)
    with bars.showing(lambda event: None, None, "scoring") as listener:
        listener(Scored(0, 2))
    assert "scoring: compiling" in out.getvalue()


def test_waits_of_different_jobs_are_not_mixed_up(monkeypatch):
    monkeypatch.setattr(bars, "last_wait", lambda stage: 1 / 0)
    monkeypatch.setattr(bars, "keep_wait", lambda *_: 1 / 0)
    out = in_terminal(monkeypatch)
    with bars.showing(lambda event: None, None, "scoring") as listener:
        listener(Scored(0, 2))
        listener(Scored(2, 2))
    assert "scoring: compiling" in out.getvalue()
    assert "the last time" not in out.getvalue()


@pytest.mark.parametrize("is_terminal", [True, False])
def test_prints_of_an_objective_stay_on_stdout(monkeypatch, capsys, is_terminal):
    out = in_terminal(monkeypatch)
    monkeypatch.setattr("sys.stdout.isatty", lambda: is_terminal)
    jaxnas.random_search(np.zeros((4, 1)), lambda row: print("asked") or 1.0, budget=2, seed=0)
    assert capsys.readouterr().out == "asked\nasked\n"
    assert "asked" not in out.getvalue()


def test_scoring_reports_from_none_to_all():
    events, archs = [], jaxnas.sample(NETWORK.space, 5, seed=0)
    config = jaxnas.ScoringConfig(chunk_size=2, one_per_class=False)
    jaxnas.score_archs(NETWORK, archs, BATCH, {"zero": lambda q: 0.0}, config, on_event=events.append)
    assert events[0] == Scored(0, 5)
    assert events[-1] == Scored(5, 5)
    assert [event.done for event in events] == sorted({event.done for event in events})
