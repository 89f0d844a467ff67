"""Latencies on this device: measured one network at a time, and predicted for a pool from those of some of it.

Every architecture alone is a program of its own, which compiles for seconds. A pool is therefore filtered by a ridge
regression on the decisions and sizes of a few dozen measured architectures, and every candidate is measured before it
is trained.
"""

import json
import time
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float, Int, Int8

from jaxnas.data.images import ImageData
from jaxnas.errors import InputError, describe_damage
from jaxnas.models.model import Model, make_model
from jaxnas.networks import SearchNetwork, describe, init_variables
from jaxnas.run.sizes import Sizes
from jaxnas.runtime.events import Listener, Noted, StageStarted
from jaxnas.runtime.files import atomic_write, check_same, read_bytes
from jaxnas.runtime.records import Record, check_intact, with_check
from jaxnas.runtime.session import fixed_settings
from jaxnas.spaces import SearchSpace
from jaxnas.store.store import make_environment

SAMPLE = 32  # architectures that the prediction is fitted on
BATCH, WARM, CALLS, SECONDS = 1, 5, 30, 0.2  # images; calls before the clock; least calls and seconds that are timed
RIDGE = np.logspace(-3, 3, 13)  # strengths, of which leave-one-out errors choose


def time_model(model: Model) -> float:
    """Return the milliseconds of a compiled call of one image: the median of at least 30 calls in 0.2 s."""
    with fixed_settings(float64=False):
        variables = jax.device_put(model.variables)
        images = jax.device_put(np.full((BATCH, *model.image_shape), 0.5, np.float32))
        module = model.flax_module
        call = jax.jit(lambda tensors, pixels: module.apply(tensors, pixels)).lower(variables, images).compile()
        for _ in range(WARM):
            jax.block_until_ready(call(variables, images))
        laps: list[float] = []
        while len(laps) < CALLS or sum(laps) < SECONDS:
            began = time.perf_counter()
            jax.block_until_ready(call(variables, images))
            laps.append(time.perf_counter() - began)
    return float(f"{1000 * np.median(laps):.4g}")


class Latencies:
    """The latency in milliseconds of each measured architecture, kept in a file, so that it is measured once.

    Args:
      space: the search space.
      network: the supernet.
      data: standardised images.
      path: the file.
      bound: largest latency, ms.
      on_event: receives a `Noted` on progress and on every candidate above the bound.

    Raises:
      InputError: the file is damaged, or of another device, network or image size.
    """

    def __init__(
        self, space: SearchSpace, network: SearchNetwork, data: ImageData, path: Path, bound: float, on_event: Listener
    ):
        """Read the file."""
        self.space, self.network, self.data = space, network, data
        self.path, self.bound, self.on_event = path, bound, on_event
        self.shape = data.train_images.shape[1:]
        device = str(make_environment(0.0)["device"])
        self.made_with: Record = {"device": device, "batch": BATCH, "image": list(self.shape), **describe(network)}
        self.made_with = json.loads(json.dumps(self.made_with, default=repr))
        self.prediction: Record = {}
        self.measured = self._read()

    def __call__(self, arch: Int8[np.ndarray, " D"]) -> float:
        """Return the milliseconds of an architecture, which is measured if it was not.

        Raises:
          InputError: no network of one architecture can be made of the supernet.
        """
        text = self.space.format(arch)
        if text not in self.measured:
            variables = init_variables(self.network, self.shape, len(arch), 0)
            variables["params"] = self.network.params_for(variables["params"], arch)
            mean, std = self.data.mean, self.data.std
            model = make_model(self.network, arch, variables, self.shape, mean=mean, std=std)
            self.measured[text] = time_model(model)
            content = {"made_with": self.made_with, "measured": self.measured}
            with atomic_write(self.path) as partial:
                partial.write_text(json.dumps(with_check(content), indent=1) + "\n")
        return self.measured[text]

    def admits(self, arch: Int8[np.ndarray, " D"]) -> bool:
        """Return whether the measured latency of a candidate is within the bound, and say if it is not."""
        found = self(arch)
        if found > self.bound:
            self.on_event(Noted(f"{self.space.format(arch)} takes {found:.4g} ms, above {self.bound:g}: not trained"))
        return found <= self.bound

    def of(self, pool: Int8[np.ndarray, "A D"]) -> Float[np.ndarray, " A"]:
        """Return the measured latencies of a pool, NaN where there is none."""
        return np.array([self.measured.get(self.space.format(arch), np.nan) for arch in pool])

    def predict(self, pool: Int8[np.ndarray, "A D"], sizes: Sizes, seed: int) -> Float[np.ndarray, " A"]:
        """Return the latencies of a pool: those of a sample are measured, the others predicted from them.

        Candidates that were measured later do not count, so that a resumed search has the same pool. A note states the
        leave-one-out error, and `record` has it.
        """
        chosen = np.random.default_rng(seed).permutation(len(pool))[:SAMPLE]
        self.on_event(StageStarted("measuring latency"))
        shown = time.monotonic()
        for number, row in enumerate(chosen):
            self(pool[row])
            if time.monotonic() - shown > 10:
                shown = time.monotonic()
                self.on_event(Noted(f"latency: {number + 1} of {len(chosen)} architectures measured"))
        known = self.of(pool)
        rows = np.sort(chosen)
        if len(rows) == len(pool):
            return known
        predicted, error = fit_ridge(features(self.space, pool, sizes), known, rows)
        share = 100 * error / float(np.mean(known[rows]))
        self.prediction = {"measured": len(rows), "error_ms": error}
        self.on_event(
            Noted(
                f"latency of {len(pool):,} architectures is predicted from {len(rows)} measured with one image on "
                f"{self.made_with['device']}: leave-one-out error {error:.3g} ms ({share:.0f} %)"
            )
        )
        predicted[rows] = known[rows]
        return predicted

    def record(self) -> Record:
        """Return device, batch and error of the prediction as plain JSON values."""
        return {"unit": "ms", "device": self.made_with["device"], "batch": BATCH, **self.prediction}

    def _read(self) -> dict[str, float]:
        if not self.path.exists():
            return {}
        content = read_bytes(self.path)
        try:
            record: Record = dict(json.loads(content).items())
            check_intact(record)
            made_with, measured = dict(record["made_with"]), {str(k): float(v) for k, v in record["measured"].items()}
            if wrong := [text for text, value in measured.items() if not 0 < value < np.inf]:
                raise ValueError(f"the latency of {wrong[0]:.80} is {measured[wrong[0]]}")
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise InputError(
                f"{self.path} is damaged ({describe_damage(error):.200}); remove it to measure again"
            ) from error
        check_same(self.path, made_with, self.made_with)
        return measured


def features(space: SearchSpace, pool: Int8[np.ndarray, "A D"], sizes: Sizes) -> Float[np.ndarray, "A F"]:
    """Return the options of the canonical architectures as 0 and 1, and their sizes, of mean 0 and deviation 1."""
    canonical = np.asarray(space.canonicalize(pool))
    options = [canonical[:, [d]] == np.arange(count) for d, count in enumerate(space.num_choices)]
    columns = np.concatenate([*options, *(np.asarray(size)[:, None] for size in sizes.values())], axis=1).astype(float)
    scale: np.ndarray = columns.std(0)
    scaled: np.ndarray = (columns - columns.mean(0)) / np.where(scale > 0, scale, 1)
    return scaled


def fit_ridge(
    x: Float[np.ndarray, "A F"], y: Float[np.ndarray, " A"], rows: Int[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " A"], float]:
    """Fit a ridge regression to some rows; return the prediction of all, and the root mean square leave-one-out error.

    The strength is that of the least leave-one-out error, r_i / (1 - H_ii) for residuals r and the hat matrix H.
    """
    a = np.concatenate([np.ones((len(x), 1)), x], axis=1)
    best = (np.inf, np.zeros(len(a)))
    for strength in RIDGE:
        penalty = strength * np.diag([0.0, *np.ones(x.shape[1])])
        solve = np.linalg.solve(a[rows].T @ a[rows] + penalty, a[rows].T)
        residual = y[rows] - a[rows] @ (solve @ y[rows])
        error = float(np.sqrt(np.mean((residual / (1 - np.diag(a[rows] @ solve))) ** 2)))
        if error < best[0]:
            best = error, a @ (solve @ y[rows])
    return best[1], best[0]
