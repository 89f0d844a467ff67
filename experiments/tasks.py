"""Tasks on public tables that the search experiments share: a pool, its raw scores, what is observed and reported."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

import jaxnas
from jaxnas.data.catalogue import data_folder
from jaxnas.errors import InputError
from jaxnas.runtime.files import read_npz
from jaxnas.scoring.engine import DEFAULT_PROXIES
from jaxnas.spaces import NASBENCH201, SPACES, to_index
from jaxnas.store.shipped import shipped_scores

SUITE_ZERO, OWN = "Suite-Zero", "jaxnas"
OBSERVATION, COST = "c10_valid_val_12", "c10_cost_12_sec"  # published, for all three data sets
OWN_OBSERVATION = {"cifar10": OBSERVATION, "cifar100": "c100_val_12", "ImageNet16-120": "im120_val_12"}
TEST_COLUMNS = {"cifar10": "robot_c10_test", "cifar100": "robot_c100_test", "ImageNet16-120": "robot_im120_test"}
SHIPPED = {"cifar10": "cifar10", "cifar100": "cifar100", "ImageNet16-120": "tiny16"}  # other images of the same size
TRANSNAS_TASKS = ("class_scene", "class_object", "jigsaw", "room_layout", "segmentsemantic", "normal", "autoencoder")
TRANSNAS_PROXIES = ("grad_norm", "snip", "grasp", "fisher", "synflow", "jacov")
WITHOUT_SYNFLOW = ("segmentsemantic", "normal", "autoencoder")  # as published
FAILED = -1e8  # as NAS-Bench-Suite-Zero writes a score that could not be computed


class Task(NamedTuple):
    """A pool of architectures."""

    archs: np.ndarray
    proxies: tuple[str, ...]
    scores: np.ndarray  # raw; NaN where a proxy failed
    observation: np.ndarray  # what a search maximises
    test: np.ndarray  # what is reported of its choice
    cost: np.ndarray  # seconds of training, NaN if unknown


@lru_cache
def load_nasbench201(
    data: str, scores: str = SUITE_ZERO, observation: str = OBSERVATION, proxies: tuple[str, ...] = ()
) -> Task | None:
    """The 9,445 architectures without dead edges and 200-epoch test accuracy; None where nobody computed the scores."""
    proxies = proxies or DEFAULT_PROXIES
    if scores == SUITE_ZERO and data == "cifar100":
        return None  # nobody published the gradient proxies there
    if scores == SUITE_ZERO:
        archs, values = jaxnas.load_proxy_scores(None, data, proxies)
    else:
        archs, values = jaxnas.load_scores("nasbench201", SHIPPED[data], proxies)[:2]
    pool = np.flatnonzero((NASBENCH201.canonicalize(archs) == archs).all(1))
    bench = jaxnas.load_nasbench201()
    columns = (jaxnas.align(bench, NASBENCH201, archs[pool], name) for name in (observation, TEST_COLUMNS[data], COST))
    return Task(archs[pool], proxies, values[pool], *columns)


@lru_cache
def _read_transnas101(space: str) -> dict[str, np.ndarray]:
    path = data_folder(None) / "tnb101" / f"tnb101_{space}.npz"
    if not path.exists():
        raise InputError(f"no TransNAS-Bench-101 table at {path}: name its folder in JAXNAS_DATA")
    return read_npz(path)


@lru_cache
def load_transnas101(space: str, task: str, preliminary: bool = False, scores: str = SUITE_ZERO) -> Task:
    """A whole space with RoBoT's proxies, all NaN in columns that nobody completed, and its final validation metric.

    `scores`: those of NAS-Bench-Suite-Zero, or the package's own.

    Or, `preliminary`, the random 662 to 725 architectures that NAS-Bench-Suite-Zero scored first, with the proxies that
    it has of all of them (not synflow).
    """
    arrays = _read_transnas101(space)
    number, columns = arrays["tasks"].tolist().index(task), arrays["proxy_columns"].tolist()
    names = tuple(name for name in TRANSNAS_PROXIES if name != "synflow" or task not in WITHOUT_SYNFLOW)
    accuracy = arrays["val_final"][number].astype(float)
    if scores == OWN:
        names = tuple(name.replace("jacov", "jacob_cov") for name in names)
        return Task(
            arrays["ops"], names, _own_scores(space, task, names, arrays["ops"]), accuracy, accuracy, np.nan * accuracy
        )
    values = arrays["prelim" if preliminary else "filled"][number].astype(float)
    if preliminary:
        pool = np.flatnonzero(np.isfinite(values[:, columns.index("snip")]))
        names = tuple(name for name in names if np.isfinite(values[pool, columns.index(name)]).all())
    else:
        pool = np.arange(len(values))
    chosen = values[np.ix_(pool, [columns.index(name) for name in names])]
    chosen[:, ~np.isfinite(chosen).all(axis=0)] = np.nan
    accuracy = accuracy[pool]
    return Task(
        arrays["ops"][pool], names, np.where(chosen == FAILED, np.nan, chosen), accuracy, accuracy, np.nan * accuracy
    )


def _own_scores(space: str, task: str, proxies: tuple[str, ...], archs: np.ndarray) -> np.ndarray:
    """The package's scores of these architectures, all NaN where it has none."""
    name = f"transnas101-{space}"
    if (name, task) not in shipped_scores():
        return np.full((len(archs), len(proxies)), np.nan)
    return jaxnas.load_scores(name, task, proxies).values[to_index(SPACES[name], archs.astype(np.int8))]


def random_regret(task: Task, budget: int) -> float:
    """Regret of the mean of 5,000 random searches."""
    rng = np.random.default_rng(0)
    draws = np.stack([rng.choice(len(task.test), budget, replace=False) for _ in range(5000)])
    found = draws[np.arange(len(draws)), np.nanargmax(task.observation[draws], axis=1)]
    return float(task.test.max() - task.test[found].mean())


def published_and_own(space: str, task: str, proxy: str) -> tuple[np.ndarray, np.ndarray]:
    """A proxy's scores by NAS-Bench-Suite-Zero, of the random architectures it scored first or else all, and ours."""
    arrays, column = _read_transnas101(space), proxy.replace("jacob_cov", "jacov")
    number, columns = arrays["tasks"].tolist().index(task), arrays["proxy_columns"].tolist()
    theirs = arrays["prelim"][number, :, columns.index(column)]
    if not np.isfinite(theirs).any():
        theirs = arrays["filled"][number, :, columns.index(column)]
    ours = _own_scores(space, task, (proxy,), arrays["ops"])[:, 0]
    known = np.isfinite(theirs) & (theirs != np.float32(FAILED)) & np.isfinite(ours)
    return theirs[known], ours[known]
