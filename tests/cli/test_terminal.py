"""What the command line shows: in a terminal bars for every stage, elsewhere lines."""

import io
import re

import numpy as np
import pytest
from rich.console import Console

from jaxnas.cli import progress, terminal
from jaxnas.objectives.trainer import Progress
from jaxnas.search import Query

WIDTH = 80


def show(monkeypatch, is_terminal):
    """Everything that a search reports, on a console of that kind."""
    out = io.StringIO()
    monkeypatch.setattr(
        progress, "status", Console(file=out, force_terminal=is_terminal, width=WIDTH, color_system=None)
    )
    monkeypatch.setattr(progress, "QUIET_INTERVAL", 0.0)
    with progress.progress() as bars:
        events = bars.events()
        events.on_stage("scoring")
        bars.bars.refresh()
        events.on_scored(4, 10)
        events.on_damaged("parts/ab.parquet", "ab.parquet is damaged")
        events.on_scored(6, 10)
        events.on_scored(8, 10)
        bars.bars.refresh()
        events.on_scored(10, 10)
        events.on_stage("robot")
        events.on_progress([3], Progress(1, 2, 30, 40, np.array([0.5]), np.array([81.25]), 63.4))
        bars.bars.refresh()
        events.on_progress([3, 4], Progress(2, 2, 40, 40, np.array([0.5, np.nan]), np.array([80.0, 9.0]), 0.0))
        bars.bars.refresh()
        events.on_query(Query(1, 2, "bo", 3, 91.5, 0.7, 91.5))
        events.on_query(Query(2, 2, "greedy", 5, np.nan, np.nan, 91.5))
        bars.start("random")
        for done in (0, 10, 20):
            bars.compared("random", done, 100)
        bars.bars.refresh()
        bars.downloaded(10, None)
        bars.downloaded(20, 20)
        bars.bars.refresh()
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
    ):
        assert part in text
    assert "query  1/2 (bo):  91.50 %   best 91.50 %   0.7 s   about 0:00:01 to go" in text
    assert "training: steps" in text
    assert "47.3/min, 0:01:03 to go" in text
    assert "query  2/2 (greedy): diverged, the search goes on   best 91.50 %\n" in text
    assert ("━" in text) == is_terminal
    assert ("first scores after" in text) != is_terminal
    assert re.search(r"architectures scored.*\d/s, 0:00:\d\d to go", text)
    assert re.search(r"random: seeds.*\d/s, 0:00:\d\d to go", text)
    if is_terminal:
        assert all(len(line) <= WIDTH for line in re.split(r"[\r\n]|\x1b\[[0-9;?]*[A-Za-z]", text))


def test_pace_counts_from_the_first_chunk(monkeypatch):
    clock = iter([100.0, 102.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    pace = progress.Pace()
    assert pace(10, 100)["rate"] is None
    measured = pace(30, 100)
    assert (measured["rate"], measured["eta_s"]) == (10.0, 7.0)
    assert measured["rss_mb"] is None or 10 < measured["rss_mb"] < 1e6


def test_programs_too_large_to_load_are_removed(tmp_path):
    for name, size in {"jit_small-cache": 10, "jit_large-cache": terminal.LARGEST_PROGRAM + 1}.items():
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    terminal.remove_large_programs(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["jit_small-cache"]
