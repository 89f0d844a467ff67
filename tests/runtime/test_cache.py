"""The folder of compiled programs: shared by Python and the command line, found again after a copy, bounded."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jaxnas.runtime.bars import show_bars
from jaxnas.runtime.cache import (
    LARGEST_PROGRAM,
    WAITS,
    cache_folder,
    clear_cache,
    keep_wait,
    last_wait,
    read_cache,
    remove_large_programs,
)
from jaxnas.runtime.events import Scored, StageStarted

SEARCH = """
import jax, numpy as np, jaxnas
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event))
{before}
jaxnas.METHODS["random"](np.eye(8), np.arange(8.0), budget=3, seed=0)
print(sum(event.endswith("cache_hits") for event in hits), sum(event.endswith("cache_misses") for event in hits))
print(jax.config.jax_compilation_cache_dir)
"""


def search(home, before="", **variables):
    """Return hits, misses and the folder of the cache of a process that searches from Python."""
    kept = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    variables = {**kept, "XDG_CACHE_HOME": str(home), **variables}
    done = subprocess.run(
        [sys.executable, "-c", SEARCH.format(before=before)], env=variables, capture_output=True, text=True, check=True
    )
    counts, folder = done.stdout.splitlines()
    return *map(int, counts.split()), folder


@pytest.mark.slow
def test_python_keeps_programs_and_finds_them_in_a_copy_of_the_folder(tmp_path):
    hits, misses, folder = search(tmp_path / "one")
    assert Path(folder) == tmp_path / "one" / "jaxnas" / "programs"
    assert hits == 0
    assert misses >= read_cache(Path(folder)).programs > 0
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    found, missed, _ = search(tmp_path / "two")
    assert found >= read_cache(Path(folder)).programs
    assert missed < misses
    removed = clear_cache(Path(folder))
    assert removed.size > 0
    assert read_cache(Path(folder)).programs == 0


@pytest.mark.slow
def test_the_users_settings_come_first(tmp_path):
    assert search(tmp_path, JAXNAS_CACHE="0")[-1] == "None"
    own = tmp_path / "own"
    assert search(tmp_path, f"jax.config.update('jax_compilation_cache_dir', {str(own)!r})")[-1] == str(own)


def test_the_folder_is_that_of_jax_or_of_the_users_cache(monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/programs")
    assert cache_folder() == Path("/programs")
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert cache_folder() == Path("/cache/jaxnas/programs")


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_a_folder_without_programs(tmp_path, name):
    (tmp_path / "empty").mkdir()
    assert read_cache(tmp_path / name)[1:] == (0, 0, 0)
    assert clear_cache(tmp_path / name)[1:] == (0, 0, 0)


def test_programs_too_large_to_load_are_removed(tmp_path):
    for name, size in {"jit_small-cache": 10, "jit_large-cache": LARGEST_PROGRAM + 1}.items():
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    remove_large_programs(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["jit_small-cache"]


def test_the_command_shows_and_clears(tmp_path):
    for name in ("jit_one", "trace_one"):
        (tmp_path / f"{name}-cache").write_bytes(b"12345")
    variables = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path)}
    texts = [
        subprocess.run(
            [sys.executable, "-m", "jaxnas.cli", "cache", *args], env=variables, capture_output=True, text=True
        )
        for args in ([], ["--clear"], ["--json"])
    ]
    assert [done.returncode for done in texts] == [0, 0, 0]
    assert texts[0].stdout == f"{tmp_path}: the folder holds 1 compiled and 1 traced programs (0.0 MB)\n"
    assert texts[1].stdout == f"{tmp_path}: removed 1 compiled and 1 traced programs (0.0 MB)\n"
    nothing = {"programs": 0, "traces": 0, "size": 0}
    assert json.loads(texts[2].stdout) == {"folder": str(tmp_path), **nothing, "cleared": False}


def test_a_stage_says_how_long_it_waited_for_its_programs_the_last_time(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    for seconds in (0.2, 75.0, 75.0):
        with show_bars() as show:
            show(StageStarted("scoring"))
            show(Scored(0, 4))
            show(Scored(2, 4))
        assert last_wait("scoring") < 1
        keep_wait("scoring", seconds)
    lines = [line for line in capsys.readouterr().err.splitlines() if "compiles" in line]
    assert lines[:2] == ["scoring: the program compiles first"] * 2  # less than a second is not worth a word
    assert lines[2] == "scoring: the program compiles first (0:01:15 the last time)"
    keep_wait("scoring", 0.0)
    keep_wait("robot", 75.04)
    assert (last_wait("robot"), last_wait("scoring"), last_wait("rea")) == (75.0, 0.0, None)
    (tmp_path / WAITS).write_text("[]")
    assert last_wait("robot") is None
    keep_wait("rea", 1.0)
    assert last_wait("rea") == 1
    clear_cache(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_a_cache_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("JAXNAS_CACHE", "0")
    keep_wait("scoring", 3.0)
    assert not (tmp_path / "none").exists()
