"""Hyperparameters of the methods that have a surrogate: frozen configurations."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from jaxnas.errors import InputError, unknown_name
from jaxnas.runtime.settings import check_kinds

Acquisition = Literal["ucb", "ei", "thompson", "ids"]
Kernel = Literal["matern52", "matern32", "rbf"]
Domain = Literal["cube", "sphere"]


def check_choice(name: str, value: str, choices: object) -> None:
    """Raise InputError unless `value` is one of a `Literal`."""
    if value not in get_args(choices):
        raise unknown_name(name, value, get_args(choices))


def check_positive(**numbers: int | float) -> None:
    """Raise InputError for the first of the named numbers that is not positive and finite."""
    for name, number in numbers.items():
        if not 0 < number < math.inf:
            raise InputError(f"`{name}` must be positive, got {number}")


def check_kappa(kappa: float) -> None:
    """Raise InputError unless the weight of the standard deviation is at least 0 and finite."""
    if not 0 <= kappa < math.inf:
        raise InputError(f"`kappa` must be at least 0 and finite, got {kappa}")


@dataclass(frozen=True)
class RobotConfig:
    """Hyperparameters of RoBoT.

    The published protocol (He et al. 2024, arXiv:2403.07591) is `PRESETS["paper"]`: kappa 2.576, distinct False,
    10,000 candidates. Its steps may pick a known architecture again and again; the defaults explore more, for reasons
    that experiments/README.md gives.

    Attributes:
        acquisition: The acquisition function.
        kappa: Weight of the standard deviation in UCB.
        kernel: Covariance function of the surrogate.
        ard: Whether each proxy has a separate length scale.
        noise: Noise variance of the standardised objective.
        domain: The domain of weights: [-1, 1]^M or the unit sphere.
        distinct: Whether to propose weights whose architecture is new; the greedy phase begins as soon as none of
            `NUM_ALTERNATIVES` points has one.
        explore: The part of the T queries after which the greedy phase begins even if BO steps are left.
        num_candidates: Random points at which the acquisition function is compared.
        num_ascents: The best of them from which it is maximised.
    """

    acquisition: Acquisition = "ucb"
    kappa: float = 10.0
    kernel: Kernel = "matern52"
    ard: bool = False
    noise: float = 1e-6
    domain: Domain = "cube"
    distinct: bool = True
    explore: float = 1.0
    num_candidates: int = 4_000
    num_ascents: int = 10

    def __post_init__(self) -> None:
        """Check every field."""
        check_kinds(self)
        check_choice("acquisition", self.acquisition, Acquisition)
        check_choice("kernel", self.kernel, Kernel)
        check_choice("domain", self.domain, Domain)
        check_positive(
            noise=self.noise, num_candidates=self.num_candidates, num_ascents=self.num_ascents, explore=self.explore
        )
        check_kappa(self.kappa)


@dataclass(frozen=True)
class ProxyGPConfig:
    """Hyperparameters of `proxy_gp`.

    Attributes:
        kappa: Weight of the standard deviation in UCB.
        initial: Architectures drawn at random after the first query; at most a fifth of the budget, and at least one.
    """

    kappa: float = 2.0
    initial: int = 2

    def __post_init__(self) -> None:
        """Check every field."""
        check_kinds(self)
        check_positive(kappa=self.kappa, initial=self.initial)


@dataclass(frozen=True)
class PredictorConfig:
    """Hyperparameters of `predictor_bo`.

    Attributes:
        initial: Architectures drawn at random before the first fit.
        acquisition: The acquisition function.
        kappa: Weight of the standard deviation in UCB.
        kernel: Covariance function of the surrogate.
        noise: Noise variance of the standardised objective, for what an encoding cannot explain.
    """

    initial: int = 5
    acquisition: Acquisition = "ei"
    kappa: float = 2.576
    kernel: Kernel = "matern52"
    noise: float = 1e-2

    def __post_init__(self) -> None:
        """Check every field."""
        check_kinds(self)
        check_choice("acquisition", self.acquisition, Acquisition)
        check_choice("kernel", self.kernel, Kernel)
        check_positive(initial=self.initial, noise=self.noise)
        check_kappa(self.kappa)
