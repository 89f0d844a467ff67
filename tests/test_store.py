"""The score file: what is written is read, a kill costs little, other settings and damage are refused."""

import os
import signal
import subprocess
import sys
import time

import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
import pytest

from jaxnas.errors import InputError
from jaxnas.networks import NASBench201Network
from jaxnas.proxies import Batch
from jaxnas.spaces import NASBENCH201, sample
from jaxnas.store import Scores, make_environment, make_provenance, read_scores, score_to_file, write_scores

NETWORK = NASBench201Network(num_classes=4, channels=2, cells_per_stage=1)
BATCH = Batch(jnp.linspace(-1, 1, 8 * 8 * 8).reshape(8, 8, 8, 1), jnp.arange(8) % 4)


def score(path, archs, **change):
    given = {
        "network": NETWORK,
        "proxies": ("synflow",),
        "batch": BATCH,
        "data_name": "ramp",
        "seed": 0,
        "chunk_size": 4,
    }
    given |= change
    return score_to_file(path, NASBENCH201, archs=archs, **given)


@pytest.fixture
def special(tmp_path):
    archs = sample(NASBENCH201, 4, seed=0)
    provenance = make_provenance(NASBENCH201, NETWORK, "ramp", BATCH, ("snip", "synflow"), seed=0)
    values = np.array([[1.0, 8e46], [np.nan, -0.0], [np.inf, 1e-300], [-np.inf, 3.0]])
    scores = Scores(archs, values, ("snip", "synflow"), provenance, make_environment(1.5))
    write_scores(tmp_path / "scores.parquet", scores)
    return tmp_path / "scores.parquet", scores


def test_round_trip_is_exact(special):
    path, scores = special
    found = read_scores(path)
    np.testing.assert_array_equal(found.archs, scores.archs)
    np.testing.assert_array_equal(found.values, scores.values)
    assert (found.proxies, found.provenance, found.environment) == scores[2:]
    table = pq.read_table(path)  # for readers without jaxnas
    assert table.column_names == ["index", "arch", "snip", "synflow"]
    assert table["arch"][0].as_py() == NASBENCH201.format(scores.archs[0])


def test_rows_found_are_not_scored_again(tmp_path):
    archs = sample(NASBENCH201, 12, seed=0)
    first = score(tmp_path / "s.parquet", archs[:8])
    calls = []
    both = score(tmp_path / "s.parquet", archs, on_chunk=lambda done, total: calls.append((done, total)))
    assert calls == [(8, 12), (12, 12)]
    np.testing.assert_array_equal(both.values[:8], first.values)
    np.testing.assert_array_equal(both.values, score(tmp_path / "other.parquet", archs).values)
    subset = score(tmp_path / "s.parquet", archs[5:2:-1])
    np.testing.assert_array_equal(subset.values, both.values[5:2:-1])
    assert len(read_scores(tmp_path / "s.parquet").archs) == 12


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"seed": 1}, ["seed is 0, not 1"]),
        (
            {"network": NASBench201Network(num_classes=4, channels=3, cells_per_stage=1)},
            ["network.channels is 2, not 3"],
        ),
        ({"batch": Batch(BATCH.images + 1, BATCH.labels)}, ["data.fingerprint is"]),
        ({"proxies": ("snip",), "data_name": "x"}, ["proxies is", "data is ramp, not x"]),
    ],
)
def test_other_settings_are_refused_by_name_and_leave_the_file(tmp_path, change, fields):
    archs = sample(NASBENCH201, 2, seed=0)
    score(tmp_path / "s.parquet", archs)
    before = (tmp_path / "s.parquet").read_bytes()
    with pytest.raises(InputError) as caught:
        score(tmp_path / "s.parquet", archs, **change)
    assert all(field in str(caught.value) for field in [*fields, "s.parquet"])
    assert "\n" not in str(caught.value)
    assert (tmp_path / "s.parquet").read_bytes() == before


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b[:40] + b"?" + b[41:]])
def test_damaged_file_is_named(special, damage):
    path, _ = special
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"scores\.parquet"):
        read_scores(path)


def test_missing_file_and_foreign_parquet_are_named(tmp_path, special):
    path, _ = special
    with pytest.raises(InputError, match="no score file"):
        read_scores(tmp_path / "none.parquet")
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), tmp_path / "foreign.parquet")
    with pytest.raises(InputError, match="not a score file"):
        read_scores(tmp_path / "foreign.parquet")


def test_interrupt_keeps_what_is_scored(tmp_path):
    archs = sample(NASBENCH201, 12, seed=0)

    def interrupt(done, total):
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(tmp_path / "s.parquet", archs, on_chunk=interrupt)
    assert len(read_scores(tmp_path / "s.parquet").archs) == 8


def test_killed_process_is_resumed_to_the_same_table(tmp_path):
    path = tmp_path / "killed.parquet"
    script = f"""
import jaxnas.store, time
jaxnas.store.SAVE_INTERVAL = 0.0
from tests.test_store import *
score({str(path)!r}, sample(NASBENCH201, 40, seed=0), on_chunk=lambda done, total: time.sleep(0.2))
"""
    process = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 120
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert 0 < len(read_scores(path).archs) < 40
    archs = sample(NASBENCH201, 40, seed=0)
    np.testing.assert_array_equal(score(path, archs).values, score(tmp_path / "calm.parquet", archs).values)
