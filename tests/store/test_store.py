"""The store of scores resumes after kills, repairs damage, serves two processes and refuses other settings."""

import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
import pytest

import jaxnas.store.store
from jaxnas.errors import InputError
from jaxnas.networks import NASBench201Network
from jaxnas.proxies import PROXIES, Batch
from jaxnas.runtime.events import PartDamaged, Scored, ignore
from jaxnas.scoring.engine import ScoringConfig
from jaxnas.spaces import NASBENCH201, enumerate_archs, sample
from jaxnas.store.folders import STALE, open_folder
from jaxnas.store.parts import open_parts
from jaxnas.store.store import Scores, make_environment, make_provenance, score_to_store
from jaxnas.store.tables import read_score_table, read_scores, write_score_table, write_scores

NETWORK = NASBench201Network(num_classes=4, channels=2, cells_per_stage=1)
BATCH = Batch(jnp.linspace(-1, 1, 8 * 8 * 8).reshape(8, 8, 8, 1), jnp.arange(8) % 4)
CONFIG = ScoringConfig(one_per_class=False, chunk_size=4)
ARCHS = sample(NASBENCH201, 12, seed=0)


def score(folder, archs=ARCHS, **change):
    given = {"network": NETWORK, "proxies": ("synflow",), "batch": BATCH, "config": CONFIG, "data_name": "ramp"}
    return score_to_store(folder, NASBENCH201, archs=archs, **given | change)


def calls_of(folder, archs=ARCHS, **change):
    """Record the progress that scoring reports and the files reported as damaged."""
    events = []
    score(folder, archs, on_event=events.append, **change)
    progress, damaged = ([event for event in events if isinstance(event, kind)] for kind in (Scored, PartDamaged))
    assert len(progress) + len(damaged) == len(events)
    return progress, damaged


def zeros(quantities):
    """Proxy of these tests: the number of edges with op 0, undefined if all edges have it."""
    count = (quantities.arch == 0).sum()
    return jnp.where(count < 6, count, jnp.nan)


def same(table, other):
    return table.schema.equals(other.schema) and repr(table.to_pydict()) == repr(other.to_pydict())  # NaN equals NaN


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def every_chunk(monkeypatch):
    """Write a part for every chunk of four rows."""
    monkeypatch.setattr(jaxnas.store.store, "SAVE_INTERVAL", 0.0)
    monkeypatch.setattr(jaxnas.store.store, "LONGEST_INTERVAL", 0.0)


@pytest.fixture
def special(tmp_path):
    archs = sample(NASBENCH201, 4, seed=0)
    provenance = make_provenance(NASBENCH201, NETWORK, "ramp", BATCH, CONFIG)
    values = np.array([[1.0, 8e46], [np.nan, -0.0], [np.inf, 1e-300], [-np.inf, 3.0]])
    scores = Scores(archs, values, ("snip", "synflow"), provenance, make_environment(1.5))
    write_scores(tmp_path / "scores.parquet", scores)
    return tmp_path / "scores.parquet", scores


def test_a_single_file_round_trips_exactly(special):
    path, scores = special
    found = read_scores(path)
    np.testing.assert_array_equal(found.archs, scores.archs)
    np.testing.assert_array_equal(found.values, scores.values)
    assert (found.proxies, found.provenance, found.environment) == scores[2:]
    table = pq.read_table(path)  # for readers without jaxnas
    assert table.column_names == ["index", "arch", "snip", "synflow"]
    assert table["arch"][0].as_py() == NASBENCH201.format(scores.archs[0])


def test_a_store_round_trips_exactly(tmp_path, every_chunk):
    scores = score(tmp_path / "s")
    assert len(list(tmp_path.glob("s/parts/*.parquet"))) == 3
    found = read_scores(tmp_path / "s")
    order = np.argsort(jaxnas.to_index(NASBENCH201, ARCHS))
    np.testing.assert_array_equal(found.archs, ARCHS[order])
    np.testing.assert_array_equal(found.values, scores.values[order])
    assert (found.proxies, found.provenance, found.environment) == scores[2:]
    assert found.environment.keys() == make_environment(0.0).keys()
    np.testing.assert_array_equal(scores.values, jaxnas.score_archs(NETWORK, ARCHS, BATCH, ("synflow",), CONFIG))


def test_rows_found_are_not_scored_again(tmp_path):
    first = score(tmp_path / "s", ARCHS[:8])
    assert calls_of(tmp_path / "s") == ([(8, 12), (12, 12)], [])
    before = content(tmp_path / "s")
    twice = score(tmp_path / "s", ARCHS[[5, 3, 5]])
    np.testing.assert_array_equal(twice.values, first.values[[5, 3, 5]])
    assert content(tmp_path / "s") == before


def test_a_proxy_added_later_is_scored_alone_and_nan_is_a_score(tmp_path, monkeypatch):
    archs = np.concatenate([np.zeros((1, 6), np.int8), ARCHS[:5]])  # the first is disconnected
    score(tmp_path / "s", archs, proxies={"zeros": zeros})
    asked, iter_scores = [], jaxnas.store.store.iter_scores

    def watched(network, archs, batch, proxies, config, workers):
        asked.append((len(archs), *proxies))
        return iter_scores(network, archs, batch, proxies, config, workers)

    monkeypatch.setattr(jaxnas.store.store, "iter_scores", watched)
    calls, _ = calls_of(tmp_path / "s", archs[:3], proxies={"zeros": zeros, "synflow": PROXIES["synflow"]})
    assert asked == [(3, "synflow")]
    assert calls == [(0, 3), (3, 3)]
    table = read_score_table(tmp_path / "s")
    assert table.column_names == ["index", "arch", "synflow", "zeros"]
    assert table["synflow"].null_count == 3
    assert table["zeros"].null_count == 0
    assert np.isnan(table["zeros"].to_numpy()).sum() == 1
    assert len(read_scores(tmp_path / "s").archs) == 3
    assert len(read_scores(tmp_path / "s", ("zeros",)).archs) == 6
    with pytest.raises(InputError, match="unknown proxy 'snip'"):
        read_scores(tmp_path / "s", ("snip",))
    write_score_table(tmp_path / "s" / "scores.parquet", table)
    assert same(pq.read_table(tmp_path / "s" / "scores.parquet"), table)
    np.testing.assert_array_equal(
        read_scores(tmp_path / "s" / "scores.parquet").archs, read_scores(tmp_path / "s").archs
    )
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(tmp_path / "s" / "scores.parquet")
    assert frame.shape == table.to_pandas().shape == (6, 4)


@pytest.mark.slow
def test_own_functions_do_not_change_the_scores_of_proxies(tmp_path):
    archs = enumerate_archs(NASBENCH201)[:20]
    mine = {"synflow": PROXIES["synflow"], "mine": zeros}
    both = score(tmp_path / "s", archs, proxies=mine, config=ScoringConfig())
    alone = score(tmp_path / "other", archs, config=ScoringConfig())
    np.testing.assert_array_equal(both.values[:, 0], alone.values[:, 0])
    assert read_score_table(tmp_path / "s").column_names == ["index", "arch", "synflow", "mine"]
    for name in ("snip", "arch"):
        with pytest.raises(InputError, match="another name"):
            score(tmp_path / "s", archs, proxies={name: PROXIES["synflow"]})


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"config": ScoringConfig(seed=1, one_per_class=False)}, ["seed is 0, not 1"]),
        ({"config": ScoringConfig(init="independent")}, ["init is shared, not independent", "one_per_class is False"]),
        (
            {"network": NASBench201Network(num_classes=4, channels=3, cells_per_stage=1)},
            ["network.channels is 2, not 3"],
        ),
        (
            {"batch": Batch(BATCH.images + 1, BATCH.labels), "data_name": "x"},
            ["data is ramp, not x", "data.fingerprint is"],
        ),
    ],
)
def test_other_settings_are_refused_by_name_and_leave_the_store(tmp_path, change, fields):
    score(tmp_path / "s", ARCHS[:2])
    for manifest in ((tmp_path / "s" / "manifest.json").read_bytes(), b"{"):  # the parts also record their settings
        (tmp_path / "s" / "manifest.json").write_bytes(manifest)
        before = content(tmp_path / "s")
        with pytest.raises(InputError) as caught:
            score(tmp_path / "s", ARCHS[:2], **change)
        assert all(field in str(caught.value) for field in [*fields, f"{tmp_path}/s"])
        assert "\n" not in str(caught.value)
        assert content(tmp_path / "s") == before


def test_other_versions_are_refused(tmp_path, monkeypatch):
    score(tmp_path / "s", ARCHS[:2])
    monkeypatch.setattr(jaxnas.store.store, "package_version", lambda: "9.9")
    with pytest.raises(InputError, match=r"jaxnas is 0\.1\.0, not 9\.9"):
        score(tmp_path / "s", ARCHS[:2])
    (tmp_path / "s" / "manifest.json").write_text('{"format": 2, "provenance": {}}')
    with pytest.raises(InputError, match="format 2, not 1"):
        score(tmp_path / "s", ARCHS[:2])


DAMAGE = {
    "truncated": lambda part: part.write_bytes(part.read_bytes()[:-100]),
    "one byte": lambda part: part.write_bytes(part.read_bytes()[:40] + b"?" + part.read_bytes()[41:]),
    "empty": lambda part: part.write_bytes(b""),
    "no score file": lambda part: pq.write_table(pq.read_table(part).replace_schema_metadata(None), part),
}


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(damage, id=name, marks=[pytest.mark.slow] * (name in ("truncated", "empty")))
        for name, damage in DAMAGE.items()
    ],
)
def test_a_damaged_part_is_named_set_aside_and_scored_again(tmp_path, every_chunk, damage):
    whole = score(tmp_path / "s")
    part = min(tmp_path.glob("s/parts/*.parquet"))
    damage(part)
    bytes_found = part.read_bytes()
    with pytest.raises(InputError, match=rf"{part.name} is damaged .* again, which repairs it"):
        read_scores(tmp_path / "s")
    progress, damaged = calls_of(tmp_path / "s")
    assert progress == [(8, 12), (12, 12)]
    assert [name for name, _ in damaged] == [f"parts/{part.name}"]
    assert str(part) in damaged[0][1]
    assert part.with_name(f"{part.name}.damaged").read_bytes() == bytes_found
    np.testing.assert_array_equal(score(tmp_path / "s").values, whole.values)
    assert calls_of(tmp_path / "s") == ([(12, 12)], [])


@pytest.mark.slow
def test_parts_of_other_origin_are_set_aside(tmp_path, special):
    score(tmp_path / "s")
    score(tmp_path / "other", config=ScoringConfig(seed=1))
    (other,) = tmp_path.glob("other/parts/*.parquet")
    (tmp_path / "s" / "parts" / other.name).write_bytes(other.read_bytes())
    (tmp_path / "s" / "parts" / "shipped.parquet").write_bytes(special[0].read_bytes())
    with pytest.warns(UserWarning, match="is damaged") as warned:
        score(tmp_path / "s")
    assert {name for name in (other.name, "shipped.parquet") for w in warned if name in str(w.message)} == {
        other.name,
        "shipped.parquet",
    }
    assert len(read_scores(tmp_path / "s").archs) == 12


@pytest.mark.parametrize("damage", [b"", b"{}", b"[1]", b'{"format": 1, "prov', b"\xff\x00"])
def test_a_damaged_manifest_is_rebuilt_from_the_parts(tmp_path, damage):
    score(tmp_path / "s")
    manifest = tmp_path / "s" / "manifest.json"
    before = manifest.read_bytes()
    manifest.write_bytes(damage)
    with pytest.raises(InputError, match=r"manifest\.json is damaged"):
        read_scores(tmp_path / "s")
    progress, damaged = calls_of(tmp_path / "s")
    assert progress == [(12, 12)]
    assert [name for name, _ in damaged] == ["manifest.json"]
    assert manifest.read_bytes() == before


def test_other_content_is_named_and_left_alone(tmp_path, special):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match=r"manifest\.json cannot be read"):
        score(tmp_path / "mine")
    assert os.listdir(tmp_path / "mine") == ["manifest.json"]
    with pytest.raises(InputError, match="is a file, and scores are kept in a folder"):
        score(special[0])
    with pytest.raises(InputError, match="no score file"):
        read_scores(tmp_path / "none.parquet")
    with pytest.raises(InputError, match="no scores in folder"):
        read_scores(tmp_path)
    with pytest.raises(InputError, match=r"labels must be .*, got -1"):
        score(tmp_path / "new", batch=Batch(BATCH.images, BATCH.labels - 1))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b[:40] + b"?" + b[41:]])
def test_a_damaged_single_file_is_named(special, damage):
    path, _ = special
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"scores\.parquet"):
        read_scores(path)


def test_a_foreign_parquet_file_is_refused(tmp_path, special):
    pq.write_table(pq.read_table(special[0]).replace_schema_metadata(None), tmp_path / "foreign.parquet")
    with pytest.raises(InputError, match="not a score file"):
        read_scores(tmp_path / "foreign.parquet")


def test_temporary_files_of_killed_processes_do_no_harm(tmp_path):
    score(tmp_path / "s")
    old, new = tmp_path / "s/parts/.1f.2e.part.parquet", tmp_path / "s/.manifest.2e.part.json"
    for path in (old, new):
        path.write_bytes(b"PAR1 cut")
    os.utime(old, (time.time() - STALE - 1,) * 2)
    assert calls_of(tmp_path / "s") == ([(12, 12)], [])
    assert (old.exists(), new.exists()) == (False, True)
    assert len(read_scores(tmp_path / "s").archs) == 12


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupt_keeps_what_is_scored(tmp_path, error):
    def interrupt(event):
        if event.done == 8:
            raise error

    with pytest.raises(error):
        score(tmp_path / "s", on_event=interrupt)
    assert calls_of(tmp_path / "s") == ([(8, 12), (12, 12)], [])


def test_of_those_who_make_a_store_together_one_wins(tmp_path):
    def make(seed):
        try:
            open_parts(open_folder(tmp_path / "s"), {"seed": seed}, ignore)
        except InputError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(make, range(8)))
    assert answers.count(None) == 1
    assert all(f"seed is {answers.index(None)}, not" in answer for answer in answers if answer)
    assert os.listdir(tmp_path / "s") == ["manifest.json"]


CHILD = """
import sys, time
import numpy as np
import jaxnas.store.store
from tests.store.test_store import ScoringConfig, NASBENCH201, sample, score

jaxnas.store.store.SAVE_INTERVAL = jaxnas.store.store.LONGEST_INTERVAL = 0.0
folder, seconds, num, step = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])

def on_event(event):
    print(event.done, flush=True)
    time.sleep(seconds)

score(folder, sample(NASBENCH201, num, seed=0)[::step], config=ScoringConfig(chunk_size=2), on_event=on_event)
"""


def start_child(folder, seconds, num, step=1):
    command = [sys.executable, "-c", CHILD, str(folder), str(seconds), str(num), str(step)]
    return subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE)


def check_against_calm_run(folder, calm, num):
    archs, config = sample(NASBENCH201, num, seed=0), ScoringConfig(chunk_size=2)
    np.testing.assert_array_equal(score(folder, archs, config=config).values, score(calm, archs, config=config).values)
    assert same(read_score_table(folder), read_score_table(calm))
    assert not list(folder.rglob("*.damaged"))


@pytest.mark.slow
@pytest.mark.parametrize(("num_kills", "num"), [(3, 300), pytest.param(20, 1500, marks=pytest.mark.slow)])
def test_killed_again_and_again_it_ends_with_the_same_table(tmp_path, num_kills, num):
    moments = random.Random(num_kills)
    for kill in range(num_kills):
        process = start_child(tmp_path / "killed", 0.05, num)
        for _ in range(0 if kill % 4 == 3 else 3):  # every fourth is killed while it starts, the others after a save
            process.stdout.readline()
        time.sleep(moments.uniform(0.0, 1.0))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    assert 0 < len(read_scores(tmp_path / "killed").archs) < num
    check_against_calm_run(tmp_path / "killed", tmp_path / "calm", num)


@pytest.mark.slow
def test_two_processes_share_a_store(tmp_path):
    processes = [start_child(tmp_path / "shared", 0.0, 300, step) for step in (1, -1)]
    for process in processes:
        process.communicate(timeout=120)
        assert process.returncode == 0
    assert len(read_scores(tmp_path / "shared").archs) == 300
    check_against_calm_run(tmp_path / "shared", tmp_path / "calm", 300)


def test_a_changed_custom_proxy_is_refused_in_place_of_its_old_scores(tmp_path):
    score(tmp_path / "s", ARCHS[:3], proxies={"zeros": zeros})
    score(tmp_path / "s", ARCHS[:4], proxies={"zeros": zeros})
    with pytest.raises(InputError, match=r"the proxy 'zeros' has changed since .*s was scored: give it another name"):
        score(tmp_path / "s", ARCHS[:3], proxies={"zeros": lambda quantities: (quantities.arch == 1).sum()})
