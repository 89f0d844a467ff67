"""Checks of the data and network of a training, and the settings that its result depends on."""

import dataclasses
import json

import jax
import jax.numpy as jnp

from jaxnas.data.images import ImageData, fingerprint
from jaxnas.errors import InputError
from jaxnas.networks import SearchNetwork, describe
from jaxnas.objectives.config import TrainingConfig
from jaxnas.runtime.devices import abstract_array
from jaxnas.runtime.host import package_version
from jaxnas.runtime.session import fixed_settings
from jaxnas.spaces import SearchSpace


def check_fit(
    network: SearchNetwork, data: ImageData, config: TrainingConfig, num_decisions: int, num_images: int
) -> None:
    """Check that images, classes and batch size fit the network.

    Args:
      network: the network.
      data: image set.
      config: hyperparameters.
      num_decisions: number of decisions of an architecture, D.
      num_images: images that a training uses.

    Raises:
      InputError: one of them does not fit.
    """
    if config.batch_size > num_images:
        raise InputError(
            f"training `batch_size` must be from 2 to {num_images}, the images of {data.name} to train on, "
            f"got {config.batch_size}"
        )
    if config.drop_path and not network.drops_paths:
        raise InputError(
            f"training `drop_path` must be 0 as {type(network).__name__} has no paths to drop, got {config.drop_path}"
        )
    if config.auxiliary_weight and not network.has_auxiliary_head:
        raise InputError(
            f"training `auxiliary_weight` must be 0 as {type(network).__name__} has no second head, "
            f"got {config.auxiliary_weight}"
        )
    images = abstract_array((2, *data.train_images.shape[1:]), jnp.float32)
    with fixed_settings(float64=False):
        arch = abstract_array((num_decisions,), jnp.int8)
        logits, _ = jax.eval_shape(network.init_with_output, jax.random.key(0), images, arch)
    if logits.shape[-1] != data.num_classes:
        raise InputError(
            f"the network must have the {data.num_classes} classes of {data.name}, got {logits.shape[-1]}; "
            f"give num_classes={data.num_classes}"
        )


def describe_training(
    space: SearchSpace, network: SearchNetwork, data: ImageData, config: TrainingConfig
) -> dict[str, object]:
    """Return all settings that a result depends on except the architecture, as plain JSON values.

    One fold is left out, as earlier versions had no other.
    """
    description = {
        "jaxnas": package_version(),
        "space": space.name,
        **describe(network),
        "data": fingerprint(data.train_images, data.train_labels),
        **dataclasses.asdict(config),
    }
    if config.folds == 1:
        del description["folds"]
    as_read_back: dict[str, object] = json.loads(json.dumps(description, default=repr))
    return as_read_back
