"""Load the tasks on public tables that the search experiments share.

A task is a pool of architectures with raw scores, the observation that a search maximises and the accuracy that is
reported. This module is imported by other scripts and is not run by itself.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln

import jaxnas
from jaxnas.data.catalogue import data_folder
from jaxnas.errors import InputError
from jaxnas.runtime.files import read_npz
from jaxnas.scoring.engine import DEFAULT_PROXIES
from jaxnas.search import PRESETS, SearchResult, get_method
from jaxnas.spaces import NASBENCH201, SPACES, to_index
from jaxnas.store.shipped import shipped_scores

SUITE_ZERO, OWN = "Suite-Zero", "jaxnas"
OBSERVATION, COST = "c10_valid_val_12", "c10_cost_12_sec"  # as published, for all three data sets
OWN_OBSERVATION = {"cifar10": OBSERVATION, "cifar100": "c100_val_12", "ImageNet16-120": "im120_val_12"}
TEST_COLUMNS = {"cifar10": "robot_c10_test", "cifar100": "robot_c100_test", "ImageNet16-120": "robot_im120_test"}
SHIPPED = {"cifar10": "cifar10", "cifar100": "cifar100", "ImageNet16-120": "tiny16"}  # other images of the same size
TRANSNAS_TASKS = ("class_scene", "class_object", "jigsaw", "room_layout", "segmentsemantic", "normal", "autoencoder")
TRANSNAS_PROXIES = ("grad_norm", "snip", "grasp", "fisher", "synflow", "jacov")
WITHOUT_SYNFLOW = ("segmentsemantic", "normal", "autoencoder")  # as published
FAILED = -1e8  # as NAS-Bench-Suite-Zero writes a score that could not be computed


class Task(NamedTuple):
    """Pool of architectures with their scores and accuracies."""

    archs: np.ndarray
    proxies: tuple[str, ...]
    scores: np.ndarray  # [A M], raw; NaN where a proxy failed
    observation: np.ndarray  # [A], maximised by a search
    test: np.ndarray  # [A], reported for the selected architecture
    cost: np.ndarray  # [A], seconds of training, NaN if unknown


def search(task: Task, method: str, budget: int, seeds: list[int], config: object = None) -> list[SearchResult]:
    """Search a task with every seed (the first and the last are given) by "method" or "method, preset".

    A method without a preset takes `config`, or its defaults without one.
    """
    name, _, preset = method.partition(", ")
    return get_method(name).run_seeds(
        jaxnas.normalize(task.scores)[0] if task.scores.size else np.zeros((len(task.scores), 1)),  # without proxies
        task.observation,
        budget=budget,
        seeds=range(seeds[0], seeds[1] + 1),
        config=PRESETS[preset] if preset else config,
        archs=task.archs,
    )


@lru_cache
def load_nasbench201(
    data: str, scores: str = SUITE_ZERO, observation: str = OBSERVATION, proxies: tuple[str, ...] = ()
) -> Task | None:
    """Load the 9,445 architectures without dead edges and 200-epoch test accuracy, or None if there are no scores."""
    proxies = proxies or DEFAULT_PROXIES
    if scores == SUITE_ZERO and data == "cifar100":
        return None  # the gradient proxies are not published for it
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
    """Load a whole space with RoBoT's proxies and its final validation metric.

    Incomplete columns of scores are all NaN. `scores` selects the scores of NAS-Bench-Suite-Zero or those that the
    package contains. With `preliminary` the pool consists of the 662 to 725 random architectures that
    NAS-Bench-Suite-Zero scored first, with the proxies that it has for all of them (not synflow).
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
    """Return the scores that the package contains for these architectures, or NaN if it has none."""
    name = f"transnas101-{space}"
    if (name, task) not in shipped_scores():
        return np.full((len(archs), len(proxies)), np.nan)
    return jaxnas.load_scores(name, task, proxies).values[to_index(SPACES[name], archs.astype(np.int8))]


def random_regret(task: Task, budget: int) -> float:
    """Return the regret of the mean of 5,000 random searches."""
    rng = np.random.default_rng(0)
    draws = np.stack([rng.choice(len(task.test), budget, replace=False) for _ in range(5000)])
    found = draws[np.arange(len(draws)), np.nanargmax(task.observation[draws], axis=1)]
    return float(task.test.max() - task.test[found].mean())


def expected_regret(task: Task, budget: int) -> float:
    """Return the expected regret of the best observed of `budget` architectures, drawn without replacement.

    An architecture that m others surpass is the best with probability C(m', T - 1) / C(N, T), where m' = N - 1 - m.
    """
    order = np.argsort(-task.observation, kind="stable")
    behind = len(order) - 1 - np.arange(len(order))
    possible = behind >= budget - 1
    log_share = _log_choose(behind[possible], budget - 1) - _log_choose(len(order), budget)
    return float(np.exp(log_share) @ (np.nanmax(task.test) - task.test[order[possible]]))


def _log_choose(n, k):
    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)


def published_and_own(space: str, task: str, proxy: str) -> tuple[np.ndarray, np.ndarray]:
    """Return NAS-Bench-Suite-Zero's scores and ours by one proxy, for the architectures that both scored.

    The random architectures that NAS-Bench-Suite-Zero scored first are preferred; if it has no such scores by the
    proxy, the whole space is used.
    """
    arrays, column = _read_transnas101(space), proxy.replace("jacob_cov", "jacov")
    number, columns = arrays["tasks"].tolist().index(task), arrays["proxy_columns"].tolist()
    public_scores = arrays["prelim"][number, :, columns.index(column)]
    if not np.isfinite(public_scores).any():
        public_scores = arrays["filled"][number, :, columns.index(column)]
    our_scores = _own_scores(space, task, (proxy,), arrays["ops"])[:, 0]
    known = np.isfinite(public_scores) & (public_scores != np.float32(FAILED)) & np.isfinite(our_scores)
    return public_scores[known], our_scores[known]
