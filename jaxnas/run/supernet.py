"""The network and images of a search: they score its pool and train its candidates."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Int8

from jaxnas.data.images import ImageData
from jaxnas.errors import InputError
from jaxnas.networks import SearchNetwork
from jaxnas.objectives.training import TrainingObjective
from jaxnas.proxies import Proxy
from jaxnas.run.config import RunConfig
from jaxnas.run.inputs import make_batch
from jaxnas.run.latency import Latencies
from jaxnas.run.sizes import PROXIES_OF_SIZES, Sizes, sizes_of_scores, within_limits
from jaxnas.runtime.events import Listener, Noted, StageStarted
from jaxnas.runtime.workers import Workers
from jaxnas.scoring.engine import get_proxies
from jaxnas.spaces import SearchSpace
from jaxnas.store.scores import Scores
from jaxnas.store.store import score_to_store


@dataclass(frozen=True)
class Supernet:
    """The network and images by which a search scores and trains, and where it keeps the outcome."""

    config: RunConfig
    space: SearchSpace
    network: SearchNetwork
    data: ImageData
    folder: Path
    record: Path | None
    workers: Workers | None
    on_event: Listener
    proxies: Sequence[str] | Mapping[str, Proxy]

    @cached_property
    def latencies(self) -> Latencies | None:
        """The latencies of candidates, None where nothing asks for them."""
        limits = self.config.limits
        if limits.max_latency is None and "latency" not in limits.objective:
            return None
        path = (self.record or self.folder / "training.jsonl").with_name("latency.json")
        bound = math.inf if limits.max_latency is None else limits.max_latency
        return Latencies(self.space, self.network, self.data, path, bound, self.on_event)

    def limit(self, pool: Int8[np.ndarray, "A D"]) -> Int8[np.ndarray, "a D"]:
        """Return the architectures of the pool that are within the limits of the settings."""
        limits = self.config.limits
        if self.latencies and (self.config.own_objective or self.config.problem.table):
            raise InputError("latency is measured where candidates are trained: give --scores and --latency-column")
        if self.latencies:
            self.latencies(pool[0])  # refuses a network of which no model can be made
        if limits.limited:
            sizes = sizes_of_scores(self._store(pool, PROXIES_OF_SIZES))
            if self.latencies and limits.max_latency is not None:
                sizes["latency"] = self.latencies.predict(pool, sizes, self.config.seed)
            within, note = within_limits(limits, sizes)
            self.on_event(Noted(note))
            pool = pool[within]
        return pool

    def score(self, pool: Int8[np.ndarray, "A D"]) -> tuple[Scores, Sizes]:
        """Score the pool into the store of the folder, together with its sizes, which share the compiled program."""
        self.on_event(StageStarted("scoring"))
        functions = get_proxies(self.proxies)
        scores = self._store(pool, {**get_proxies(PROXIES_OF_SIZES), **functions})
        chosen = [scores.proxies.index(name) for name in functions]
        return scores._replace(values=scores.values[:, chosen], proxies=tuple(functions)), sizes_of_scores(scores)

    def _store(self, pool: Int8[np.ndarray, "A D"], proxies: Sequence[str] | Mapping[str, Proxy]) -> Scores:
        return score_to_store(
            self.folder / "scores",
            self.space,
            self.network,
            pool,
            make_batch(self.data, self.config.search.batch_size, self.config.seed),
            proxies,
            self.config.scoring,
            data_name=self.data.name,
            workers=self.workers,
            on_event=self.on_event,
        )

    def train(self, pool: Int8[np.ndarray, "A D"]) -> TrainingObjective:
        """Return the objective that trains candidates of the pool."""
        return TrainingObjective(
            self.network,
            pool,
            self.data,
            self.config.training,
            self.record or self.folder / "training.jsonl",
            self.on_event,
            space=self.space,
            together=self.config.search.together,
            workers=self.workers,
            admits=None if self.latencies is None else self.latencies.admits,
        )
