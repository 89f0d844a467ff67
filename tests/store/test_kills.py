"""A store whose writers are killed at any file operation, or whose files are damaged, ends like an undisturbed run."""

import os
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxnas.store.store
from jaxnas.errors import InputError
from jaxnas.proxies import PROXIES
from jaxnas.runtime.events import PartDamaged
from jaxnas.spaces import NASBENCH201, sample, to_index
from jaxnas.store.folders import open_folder
from jaxnas.store.parts import merge_environments, read_parts, with_header, write_part
from jaxnas.store.store import fill_store
from jaxnas.store.tables import read_score_table
from tests.store.test_store import BATCH, NETWORK

ARCHS = sample(NASBENCH201, 9, seed=0)
PROVENANCE = {"space": "nasbench201", "seed": 0}
NEVER = 10**9


class Killed(BaseException):
    """The process ends here: nothing runs after it, not even `finally`."""


@contextmanager
def killed_at(operation):
    """The file operation with that number stops in the middle, and no later operation begins."""
    count = 0

    def interrupted(real, half=None):
        def call(*args, **options):
            nonlocal count
            count += 1
            if count == operation and half is not None:
                half(real, *args)
            if count >= operation:
                raise Killed
            return real(*args, **options)

        return call

    operations = [(Path, "write_bytes"), (Path, "replace"), (Path, "unlink"), (Path, "mkdir"), (os, "link")]
    halves = {"write_bytes": lambda real, path, content: real(path, content[: len(content) // 2])}
    with ExitStack() as stack:
        for owner, name in operations:
            changed = interrupted(getattr(owner, name), halves.get(name))
            stack.enter_context(mock.patch.object(owner, name, changed))
        yield


def score_of(index, name):
    """Return the values of the cheap scorer, with NaN in every fifth row."""
    return np.where(index % 5 == 0, np.nan, index + 0.25 * (name == "snip"))


@contextmanager
def cheap_scoring(asked, every_chunk):
    """Score without a network, in chunks of two rows, and record the requests."""

    def iter_scores(network, archs, batch, proxies, config, workers):
        index = to_index(NASBENCH201, archs)
        for start in range(0, len(archs), 2):
            rows = np.arange(start, min(start + 2, len(archs)))
            asked.extend((int(number), name) for number in index[rows] for name in proxies)
            yield rows, np.stack([score_of(index[rows], name) for name in proxies], axis=1)

    interval = 0.0 if every_chunk else 60.0
    changed = {
        "iter_scores": iter_scores,
        "check_batch": lambda network, batch: None,
        "make_provenance": lambda *settings: PROVENANCE,
        "make_environment": lambda seconds: {"device": "1 x none", "seconds": 1.0},
        "SAVE_INTERVAL": interval,
        "LONGEST_INTERVAL": interval,
    }
    with ExitStack() as stack:
        for name, value in changed.items():
            stack.enter_context(mock.patch.object(jaxnas.store.store, name, value))
        yield


def fill(folder, archs, names, asked, every_chunk, events=None):
    with cheap_scoring(asked, every_chunk):
        fill_store(
            folder,
            NASBENCH201,
            NETWORK,
            archs,
            BATCH,
            {name: PROXIES[name] for name in names},
            data_name="",
            on_event=[].append if events is None else events.append,
        )


def saved_in(folder):
    """Return (index, proxy) of all complete parts."""
    tables = [pq.read_table(path) for path in Path(folder).glob("parts/[!.]*.parquet")]
    return [(i, name) for table in tables for i in table["index"].to_pylist() for name in table.column_names[2:]]


def damage(path, way, place):
    content = path.read_bytes()
    place = place % len(content)
    changed = {"cut": content[:place], "one bit": content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]}
    path.write_bytes(changed[way])


RUN = st.fixed_dictionaries(
    {
        "kill": st.integers(1, 30),
        "every_chunk": st.booleans(),
        "rows": st.lists(st.integers(0, len(ARCHS) - 1), min_size=1, max_size=len(ARCHS)),
        "names": st.lists(st.sampled_from(["snip", "synflow"]), min_size=1, max_size=2, unique=True),
        "damage": st.none() | st.tuples(st.sampled_from(["cut", "one bit"]), st.integers(0, 10**6), st.integers(0, 9)),
    }
)


@settings(max_examples=60, deadline=None)
@given(runs=st.lists(RUN, max_size=5))
def test_any_kills_and_damage_end_with_the_table_of_a_calm_run(runs):
    with tempfile.TemporaryDirectory() as root:
        folder, calm = Path(root, "killed"), Path(root, "calm")
        names = ["snip", "synflow"]
        for run in [*runs, {"kill": NEVER, "every_chunk": True, "rows": range(9), "names": names, "damage": None}]:
            asked, events, parts = [], [], sorted(folder.glob("parts/[!.]*.parquet"))
            damaged = set()
            if run["damage"] and parts:
                way, place, number = run["damage"]
                part = parts[number % len(parts)]
                damage(part, way, place)
                damaged.add(f"parts/{part.name}")
                with pytest.raises(InputError, match=part.name):
                    read_parts(open_folder(folder))
                saved = set()  # by the other parts
                for other in set(parts) - {part}:
                    table = pq.read_table(other)
                    saved |= {(i, name) for i in table["index"].to_pylist() for name in table.column_names[2:]}
            else:
                saved = set(saved_in(folder))
            is_killed = False
            with killed_at(run["kill"]):
                try:
                    fill(folder, ARCHS[list(run["rows"])], run["names"], asked, run["every_chunk"], events)
                except Killed:
                    is_killed = True
            assert not saved.intersection(asked), "what was saved is scored again"
            assert len(asked) == len(set(asked))
            named = {event.name for event in events if isinstance(event, PartDamaged)}
            assert named <= damaged
            if not is_killed:
                assert named == damaged
                assert {f"parts/{path.name}" for path in folder.glob("parts/*.damaged")} >= {
                    f"{name}.damaged" for name in damaged
                }
            elif damaged - named:  # killed before: the part still exists, and the next run finds it
                for name in damaged - named:
                    (folder / name).unlink(missing_ok=True)
                    (folder / f"{name}.damaged").unlink(missing_ok=True)
        fill(calm, ARCHS, names, [], True)
        table, wanted = read_score_table(folder), read_score_table(calm)
        assert table.schema.equals(wanted.schema)
        assert repr(table.to_pydict()) == repr(wanted.to_pydict())  # NaN equals NaN
        assert len(saved_in(folder)) == len(set(saved_in(folder))) == 2 * len(ARCHS)


@pytest.mark.parametrize("environment", [{}, {"device": "2 x cpu (cpu)"}, {"seconds": None}, {"seconds": "long"}])
def test_a_part_that_does_not_record_its_time_is_merged(tmp_path, environment):
    fill(tmp_path, ARCHS[:4], ["snip"], [], False)
    folder = open_folder(tmp_path)
    (part,) = tmp_path.glob("parts/[!.]*.parquet")
    write_part(folder, with_header(pq.read_table(part), PROVENANCE, {"jax": "0.1", **environment}))
    _, parts = read_parts(folder)
    merged = merge_environments(parts)
    assert merged["seconds"] == 1.0
    assert merged["jax"] == "0.1"
    assert "1 x none" in merged["device"]
    assert merge_environments([]) == {"seconds": 0.0}
    read_score_table(tmp_path)
