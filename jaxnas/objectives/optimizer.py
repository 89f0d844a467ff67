"""The optimizers of training, and what of a configuration is a number of the compiled program or part of its form."""

from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Float32, Int, PyTree

from jaxnas.objectives.config import TrainingConfig
from jaxnas.proxies.draws import is_kernel

AnyArray: TypeAlias = Any  # of JAX or NumPy, or the shape of one


class Rates(NamedTuple):
    """The numbers of a schedule, arguments of the program of training; see `TrainingConfig`.

    `warm_up` is None where there is none; the program then has no argument for it.
    """

    epochs: Float32[AnyArray, ""]
    learning_rate: Float32[AnyArray, ""]
    final_learning_rate: Float32[AnyArray, ""]
    warm_up: Float32[AnyArray, ""] | None
    momentum: Float32[AnyArray, ""]
    weight_decay: Float32[AnyArray, ""]
    clip_norm: Float32[AnyArray, ""]
    label_smoothing: Float32[AnyArray, ""]
    drop_path: Float32[AnyArray, ""]
    auxiliary_weight: Float32[AnyArray, ""]


class Form(NamedTuple):
    """What shapes the program of training: optimizer, augmentation, parts of the loss; see `TrainingConfig`."""

    optimizer: str
    nesterov: bool
    crop_padding: int
    flip: bool
    cutout: int
    smooths_labels: bool
    drops_paths: bool
    has_auxiliary: bool


def rates_of(config: TrainingConfig) -> Rates:
    """Return the numbers of a configuration that a program takes; none of them is None."""
    rates = Rates(*(np.float32(float(getattr(config, name))) for name in Rates._fields))
    return rates if config.warm_up else rates._replace(warm_up=None)


def form_of(config: TrainingConfig) -> Form:
    """Return what a configuration makes of the program."""
    nesterov = config.optimizer == "sgd" and config.nesterov
    augmentation = config.crop_padding, config.flip, config.cutout
    parts = config.label_smoothing > 0, config.drop_path > 0, config.auxiliary_weight > 0
    return Form(config.optimizer, nesterov, *augmentation, *parts)


def make_optimizer(rates: Rates, steps: Float[AnyArray, ""] | int, form: Form) -> optax.GradientTransformation:
    """Return the optimizer of a training of T = `steps` steps, which clips the gradient first.

    SGD adds the decay to the gradient. AdamW adds it to its update of kernels, not to that of biases, normalisations,
    positions and class tokens. With W = `warm_up` T, at step t the learning rate is lr_0 (t + 1) / W, but at most the
    cosine lr_T + (lr_0 - lr_T) (1 + cos(pi (t - W) / (T - W))) / 2, which is lr_0 until step W.
    """

    def schedule(count: Int[Array, ""]) -> Float[Array, ""]:
        if rates.warm_up is None:
            share = (1 + jnp.cos(jnp.pi * jnp.minimum(count, steps) / steps)) / 2
            return jnp.asarray(rates.final_learning_rate + (rates.learning_rate - rates.final_learning_rate) * share)
        warm = rates.warm_up * steps
        share = (1 + jnp.cos(jnp.pi * jnp.clip((count - warm) / (steps - warm), 0, 1))) / 2
        cosine = rates.final_learning_rate + (rates.learning_rate - rates.final_learning_rate) * share
        return jnp.minimum(cosine, rates.learning_rate * (count + 1) / warm)

    clip = optax.clip_by_global_norm(rates.clip_norm)
    if form.optimizer == "adamw":
        return optax.chain(
            clip, optax.adamw(schedule, rates.momentum, weight_decay=rates.weight_decay, mask=_kernels_alone)
        )
    return optax.chain(
        clip, optax.add_decayed_weights(rates.weight_decay), optax.sgd(schedule, rates.momentum, form.nesterov)
    )


def _kernels_alone(params: PyTree) -> PyTree:
    """Return for every leaf whether it is a kernel."""
    mask: PyTree = jax.tree_util.tree_map_with_path(lambda path, _: is_kernel(path), params)
    return mask
