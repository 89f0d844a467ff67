"""The experiments on public tables: their spaces, their counts, and the tables that they write."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxnas.table.evaluation import spearman
from jaxnas.testing import check_space

sys.path.append(str(Path(__file__).parents[2] / "experiments"))  # scripts, not a package
accel = importlib.import_module("accel_nasbench")
language = importlib.import_module("language_models")
ARCH = np.array([[[1, 3, 1, 0], [6, 3, 2, 1], [6, 5, 2, 1], [6, 3, 3, 1], [6, 5, 3, 1], [6, 5, 4, 1], [6, 3, 1, 1]]])


def plain_counts(row):
    """Parameters and multiply-adds at 224 pixels by the sums of the layers, in millions."""
    side, coming = 112, 32
    params, macs = 27 * 32 + 64, side**2 * 27 * 32
    for (expansion, size, layers, gate), width, stride in zip(row, accel.WIDTHS, accel.STRIDES, strict=True):
        for number in range(layers):
            out = side // (stride if number == 0 else 1)
            hidden, few = coming * expansion, coming // 4
            if expansion > 1:
                params, macs = params + coming * hidden + 2 * hidden, macs + side**2 * coming * hidden
            params, macs = params + (size**2 + 2) * hidden, macs + out**2 * size**2 * hidden
            if gate:
                params, macs = params + 2 * hidden * few + hidden + few, macs + 2 * hidden * few
            params, macs = params + hidden * width + 2 * width, macs + out**2 * hidden * width
            side, coming = out, width
    return (params + 320 * 1280 + 2 * 1280 + 1281 * 1000) / 1e6, (macs + side**2 * 320 * 1280 + 1280 * 1000) / 1e6


def test_the_space_of_accel_nasbench():
    space = accel.make_network().space
    assert space.size == 3**7 * 2**7 * 2**7 * 3**6 * 4
    (arch,) = accel.to_archs(ARCH)
    assert space.format(arch).startswith("k3:e1:se0:0:k3:e6:se1:1:k5:e6:se1:1")
    check_space(space)


@pytest.mark.slow
def test_counts_are_the_sums_of_the_layers():
    """EfficientNet-B0 without the gate of its first stage among them."""
    rows = np.concatenate([ARCH, [[[4, 5, 3, 1]] * 7, [[1, 3, 1, 0]] * 7]])
    found = accel.count_all(accel.to_archs(rows))
    counts = np.array([plain_counts(row) for row in rows.tolist()])
    np.testing.assert_allclose([found["params"], found["MACs"]], counts.T, rtol=1e-6)


@pytest.mark.data
def test_the_table_of_accel_nasbench(data_folder):
    archs, columns = accel.load()
    assert archs.shape == (5125, 28)
    with np.load(data_folder / "accel_nasbench" / "accel_nasbench.npz") as file:
        rows, params, top1 = file["arch"], file["params_M"], file["val_top1"]
    counts = np.array([plain_counts(row) for row in rows[::50].tolist()])
    np.testing.assert_allclose(counts[:, 0], params[::50], rtol=1e-6)
    np.testing.assert_allclose(columns["params_M"][columns["place"]], params, rtol=1e-6)
    assert abs(columns["val_top1"][columns["place"]] - top1).max() < 0.7  # 13 networks were trained twice


def test_volumes_are_shares_of_the_box_of_the_pool():
    accuracy, speed = np.array([0.0, 1.0, 2.0, 4.0]), np.array([8.0, 4.0, 2.0, 0.0])
    assert accel.volume(accuracy, speed, np.array([0, 3])) == 0
    assert accel.volume(accuracy, speed, np.array([2])) == pytest.approx(2 / 4 * 2 / 8)
    assert accel.volume(accuracy, speed, np.arange(4)) == pytest.approx((2 * 2 + 1 * 2) / 32)


def test_partial_correlations():
    random = np.random.default_rng(0)
    given = random.normal(size=400)
    scores, objective = given + random.normal(size=400), given + random.normal(size=400)
    assert spearman(scores, objective) > 0.4
    assert abs(language.partial(scores, objective, given)) < 0.15
    assert language.partial(scores, scores**3, given) == pytest.approx(1)
    assert np.isnan(language.partial(given, objective, given))


@pytest.mark.data
@pytest.mark.parametrize("name", language.POOLS)
def test_pools_of_language_models(data_folder, name):
    pool = language.load(name)
    assert len(pool.archs) == len(pool.objective) == {"BERT": 491}.get(name, len(pool.objective))
    assert (pool.archs >= 0).all()
    assert len(np.unique(pool.archs, axis=0)) == len(pool.archs)
    assert np.isfinite(pool.objective).all()
    assert len(pool.proxies) == (14 if name.startswith("BERT") else 0)
    first = next(iter(pool.counts.values()))
    low, high = {"BERT": (0.83, 0.84)}.get(name, (0, 0.3) if name.startswith("BERT") else (0.96, 1.0))  # as published
    assert low < spearman(first, pool.objective) < high


@pytest.mark.data
def test_rows_and_tables(data_folder):
    plan = [row for row in language.plan(2) if row["pool"] == "BERT, four layers"]
    todo = [row for row in plan if row["part"] == "correlations" or row.get("method") in ("random", "largest")]
    rows = [{"settings": settings, **language.compute(**settings)} for settings in todo]
    text = language.to_markdown(rows)
    assert "| random | - |" in text
    assert "| Synaptic Diversity |" in text
    assert all(0 <= row["share"] < 5 for row in rows if row["settings"]["part"] == "search")


@pytest.mark.data
def test_tables_of_accel_nasbench(data_folder):
    plan = [row for row in accel.plan(2, 600) if row.get("pool") == accel.ALL]
    todo = [row for row in plan if row["part"] == "search" and row["method"] in ("random", "largest")]
    todo += [row for row in plan if row["part"] == "front" and row["method"] == "largest, limits"]
    rows = [{"settings": settings, **accel.compute(**settings)} for settings in todo]
    text = accel.to_markdown(rows)
    assert "| 5,125 (67.05) | random | none | 64.87 |" in text  # published: 64.86 of 5,138 rows
    assert "| largest | params | 66.65 |" in text
    assert all(0.5 < row["volumes"][0] / row["whole"] <= 1 for row in rows if row["settings"]["part"] == "front")
