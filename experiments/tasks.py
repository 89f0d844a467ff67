"""Tasks on public tables that the search experiments share: a pool, its raw scores, what is observed and reported."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

import jaxnas
from jaxnas.catalogue import data_folder
from jaxnas.errors import InputError
from jaxnas.files import read_npz
from jaxnas.spaces import NASBENCH201

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
    proxies = proxies or tuple(jaxnas.PROXIES)
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
def load_transnas101(space: str, task: str, preliminary: bool = False) -> Task:
    """A whole space with RoBoT's proxies, all NaN in columns that nobody completed, and its final validation metric.

    Or, `preliminary`, the random 662 to 725 architectures that NAS-Bench-Suite-Zero scored first, with the proxies that
    it has of all of them (not synflow).
    """
    arrays = _read_transnas101(space)
    number, columns = arrays["tasks"].tolist().index(task), arrays["proxy_columns"].tolist()
    names = tuple(name for name in TRANSNAS_PROXIES if name != "synflow" or task not in WITHOUT_SYNFLOW)
    values = arrays["prelim" if preliminary else "filled"][number].astype(float)
    if preliminary:
        pool = np.flatnonzero(np.isfinite(values[:, columns.index("snip")]))
        names = tuple(name for name in names if np.isfinite(values[pool, columns.index(name)]).all())
    else:
        pool = np.arange(len(values))
    scores = values[np.ix_(pool, [columns.index(name) for name in names])]
    scores[:, ~np.isfinite(scores).all(axis=0)] = np.nan
    accuracy = arrays["val_final"][number].astype(float)[pool]
    return Task(
        arrays["ops"][pool], names, np.where(scores == FAILED, np.nan, scores), accuracy, accuracy, np.nan * accuracy
    )
