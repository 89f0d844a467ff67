"""What a training requires of its data and network, and what its result depends on."""

import dataclasses
import json
from importlib.metadata import version

import jax
import jax.numpy as jnp

from jaxnas.data.images import ImageData, fingerprint
from jaxnas.errors import InputError
from jaxnas.networks import SearchNetwork, describe
from jaxnas.objectives.config import TrainingConfig
from jaxnas.runtime.devices import abstract_array
from jaxnas.spaces import SearchSpace


def check_fit(network: SearchNetwork, data: ImageData, config: TrainingConfig, num_decisions: int) -> None:
    """Check that images, classes and batch size fit the network.

    Args:
      network: what is trained.
      data: images, of which the training images are those that are left to train on.
      config: hyperparameters.
      num_decisions: decisions of an architecture.

    Raises:
      InputError: they do not fit.
    """
    if config.batch_size > len(data.train_labels):
        raise InputError(
            f"training batch_size is {config.batch_size}, but {len(data.train_labels)} images of {data.name} are left "
            f"to train on: choose 2..{len(data.train_labels)}"
        )
    if config.drop_path and not network.drops_paths:
        raise InputError(f"{type(network).__name__} has no paths to drop: give training drop_path 0")
    if config.auxiliary_weight and not network.has_auxiliary_head:
        raise InputError(f"{type(network).__name__} has no second head: give training auxiliary_weight 0")
    images = abstract_array((2, *data.train_images.shape[1:]), jnp.float32)
    with jax.enable_x64(False):
        arch = abstract_array((num_decisions,), jnp.int8)
        logits, _ = jax.eval_shape(network.init_with_output, jax.random.key(0), images, arch)
    if logits.shape[-1] != data.num_classes:
        raise InputError(
            f"a network of {logits.shape[-1]} classes does not fit {data.name} with {data.num_classes}: "
            f"give num_classes={data.num_classes}"
        )


def describe_training(
    space: SearchSpace, network: SearchNetwork, data: ImageData, config: TrainingConfig
) -> dict[str, object]:
    """Return all that a result depends on, apart from the architecture, as plain JSON values."""
    description = {
        "jaxnas": version("jaxnas"),
        "space": space.name,
        **describe(network),
        "data": fingerprint(data.train_images, data.train_labels),
        **dataclasses.asdict(config),
    }
    as_read_back: dict[str, object] = json.loads(json.dumps(description, default=repr))
    return as_read_back
