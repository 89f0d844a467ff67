"""One architecture trained for its final accuracy, as `jaxnas train` does it."""

import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int8

from jaxnas.data.images import ImageData
from jaxnas.errors import InputError
from jaxnas.models.find import TRAINED
from jaxnas.models.model import Model, make_model
from jaxnas.networks import CUSTOM_NETWORKS, NETWORKS, SearchNetwork, init_variables, num_params
from jaxnas.objectives.checkpoint import Checkpoints
from jaxnas.objectives.conditions import check_fit, describe_training
from jaxnas.objectives.fit import fit_training
from jaxnas.objectives.programs import Labelled, TrainState, chunks
from jaxnas.objectives.recipes import get_recipe, with_settings
from jaxnas.objectives.trainer import Trainer
from jaxnas.run.config import TrainConfig
from jaxnas.run.inherit import Inherited, inherit
from jaxnas.run.inputs import load_standardized
from jaxnas.run.load import load_selected
from jaxnas.run.trained import TrainedArch, save_trained
from jaxnas.runtime.events import Listener, Noted, StageStarted, ignore
from jaxnas.runtime.files import exclusive, make_writable
from jaxnas.runtime.places import to_path
from jaxnas.runtime.records import Record
from jaxnas.spaces import get_space, space_of


def train_config(
    arch: str,
    space: str = "",
    data: str = "cifar10",
    *,
    network: Mapping[str, object] = {},
    plugins: tuple[str, ...] = (),
    **training: object,
) -> TrainConfig:
    """Build the settings of a final training on top of the published recipe of the architecture's space.

    Args:
      arch: text of an architecture, or the folder of a search, whose selected architecture is trained.
      space: the search space; by default that of the search, or the first one that can read the text.
      data: name or path of the images.
      network: fields of the space's network; None leaves the recipe's value.
      plugins: name and checksum of each plugin, for the record.
      **training: fields of `TrainingConfig`; None leaves the recipe's value.

    Raises:
      InputError: no space can read the text, the folder has no finished search, or a setting is out of range.
    """
    recorded, arch = load_selected(arch)[:2] if os.path.isdir(arch) else ("", arch)
    space = space or recorded or space_of(arch)
    _, recipe = get_recipe(space, _network_of(space))
    chosen: Record = {name: value for name, value in training.items() if value is not None}
    config = with_settings(recipe.training, chosen)
    fields = {**recipe.network, **{name: value for name, value in network.items() if value is not None}}
    if "auxiliary" in fields:
        fields["auxiliary"] = config.auxiliary_weight > 0
    if space in CUSTOM_NETWORKS and fields:
        raise InputError(f"`{next(iter(fields))}` must be left out: the network of space {space} has its own sizes")
    canonical = get_space(space).format(get_space(space).parse(arch))
    return TrainConfig(space, canonical, data, tuple(sorted(fields.items())), config, plugins)


def _network_of(space: str) -> SearchNetwork | None:
    """Return a network of a space; None where the space has none."""
    if space in CUSTOM_NETWORKS:
        return CUSTOM_NETWORKS[space](2)
    return NETWORKS[space]() if space in NETWORKS else None


def train_arch(
    config: TrainConfig,
    folder: Path,
    *,
    data_folder: Path | None = None,
    on_event: Listener = ignore,
    network: SearchNetwork | None = None,
    data: ImageData | None = None,
) -> TrainedArch:
    """Train one architecture on all training images, then measure its accuracy on the test images.

    Args:
      config: see `train_config`.
      folder: folder of `checkpoint`, from which the same call resumes a killed training; the last checkpoint is kept.
      data_folder: folder of public images, see `jaxnas.data_folder`.
      on_event: receives `StageStarted("training")`, then `TrainingProgress`, see `jaxnas.runtime.events`.
      network: the supernet; by default that of `config.space`, with the fields of `config.network`, or of its plugin.
      data: standardised images; by default those of `config.data`.

    Raises:
      InputError: settings that do not fit, or a checkpoint that other settings made.
    """
    make_writable(folder)
    on_event(StageStarted("training"))
    data = data or load_standardized(config.data, data_folder)
    if network is None and config.space in CUSTOM_NETWORKS:
        network = CUSTOM_NETWORKS[config.space](data.num_classes)
    elif network is None:
        fields: Record = {"num_classes": data.num_classes, **dict(config.network)}
        network = NETWORKS[config.space](**fields)
    space = network.space
    counts = np.bincount(data.train_labels, minlength=data.num_classes).tolist()
    config = replace(config, training=fit_training(config.training, network, counts))
    check_fit(network, data, config.training, len(space.num_choices), len(data.train_labels))
    arch = space.parse(config.arch)
    made_with = {**describe_training(space, network, data, config.training), "arch": config.arch}
    trainer = Trainer(network, config.training, Labelled(data.train_images, data.train_labels), len(arch))
    checkpoints = Checkpoints(folder / "checkpoint", keeps_last=True)
    with exclusive(checkpoints.folder, "training"):
        fitted = trainer.fit(arch[None], on_event, checkpoints, made_with)
    (state,), losses = fitted.states, fitted.loss[:, 0].tolist()
    diverged = not np.isfinite(losses).all()
    accuracy = np.nan if diverged else trainer.accuracy([state], arch, [chunks(data.test_images, data.test_labels)])
    size = int(num_params(network, state.params, jnp.asarray(arch), jnp.asarray(data.train_images[:1])))
    trained = TrainedArch(config, size, losses, fitted.accuracy[:, 0].tolist(), accuracy, round(fitted.seconds, 3))
    return trained if diverged else trained._replace(model=_model_of(trained, network, arch, state, data, on_event))


def train_run(
    folder: Path | str,
    out: Path | str | None = None,
    *,
    data: str | ImageData | None = None,
    network: SearchNetwork | None = None,
    data_folder: Path | None = None,
    plugins: tuple[str, ...] = (),
    on_event: Listener = ignore,
    **settings: object,
) -> TrainedArch:
    """Train the architecture that a search selected, and write its model; the same call resumes a killed training.

    Args:
      folder: folder of the search.
      out: folder of result.json, checkpoint and model; by default `trained` in that of the search.
      data: name, path or standardised images; by default those of the search.
      network: a supernet of the same space; by default that of the search, with what the published recipe of the
        space says except the size.
      data_folder: folder of public images, see `jaxnas.data_folder`.
      plugins: name and checksum of each plugin, for the record.
      on_event: receives a `Noted` on what replaces settings of the search, and the events of the training.
      **settings: `channels`, `cells_per_stage` and fields of `TrainingConfig`; by default those of the search, and the
        recipe's.

    Raises:
      InputError: settings that do not fit, or a search of which network or images cannot be read back.
    """
    job = inherit(
        folder, data=data, network=network, data_folder=data_folder, plugins=plugins, on_event=on_event, **settings
    )
    return train_job(job, to_path(out or to_path(folder) / TRAINED), on_event=on_event)


def untrained_model(folder: Path | str, *, data_folder: Path | None = None) -> Model:
    """Return the network of the architecture that a search selected, as the first step of `train_run` finds it.

    Raises:
      InputError: network or images of the search cannot be read back.
    """
    job = inherit(folder, data_folder=data_folder)
    arch, shape = job.network.space.parse(job.config.arch), job.data.train_images.shape[1:]
    variables = init_variables(job.network, shape, len(arch), job.config.training.seed)
    variables["params"] = job.network.params_for(variables["params"], arch)
    data, about = job.data, {"data": job.data.name, "test_accuracy": None}
    given = {"mean": data.mean, "std": data.std}
    return make_model(job.network, arch, variables, shape, class_names=data.class_names, about=about, **given)


def train_job(job: Inherited, folder: Path, *, on_event: Listener = ignore) -> TrainedArch:
    """Train what a search selected, as `inherit` describes it, and write result.json and the model into the folder."""
    for note in job.notes:
        on_event(Noted(note))
    trained = train_arch(job.config, folder, network=job.network, data=job.data, on_event=on_event)
    save_trained(folder, trained)
    return trained


def _model_of(
    trained: TrainedArch,
    network: SearchNetwork,
    arch: Int8[np.ndarray, " D"],
    state: TrainState,
    data: ImageData,
    on_event: Listener,
) -> Model | None:
    """Return the trained network of the architecture; where none can be made, say why."""
    accuracy = trained.test_accuracy if np.isfinite(trained.test_accuracy) else None
    about = {"data": data.name, "test_accuracy": accuracy, "training": asdict(trained.config.training)}
    tensors = {"params": state.params, "batch_stats": state.batch_stats}
    shape = data.train_images.shape[1:]
    try:
        return make_model(
            network,
            arch,
            tensors,
            shape,
            mean=data.mean,
            std=data.std,
            class_names=data.class_names,
            about=about,
        )
    except InputError as error:
        on_event(Noted(f"no model was written: {error}", is_warning=True))
        return None
