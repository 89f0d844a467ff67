"""What the final training of a search's architecture takes from the search, from the recipe and from the user."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

from jaxnas.data.images import ImageData
from jaxnas.errors import InputError
from jaxnas.networks import CUSTOM_NETWORKS, NETWORKS, SearchNetwork
from jaxnas.networks.params import describe
from jaxnas.objectives.config import TrainingConfig
from jaxnas.objectives.fit import small_batch
from jaxnas.objectives.recipes import RECIPES, get_recipe, with_settings
from jaxnas.run.config import TrainConfig, from_record
from jaxnas.run.inputs import load_standardized
from jaxnas.run.load import Selected, load_selected, refusing_damage
from jaxnas.run.origin import load_origin_images, network_from_record
from jaxnas.runtime.events import Listener
from jaxnas.runtime.places import to_path
from jaxnas.runtime.records import Record
from jaxnas.spaces.ids import IDS

SIZES = ("channels", "cells_per_stage")
RECIPE_SIDE = 32  # pixels of the images that the published recipes are for
_OF_RECIPES = ("cifar10", "cifar100", "tiny16")  # sets whose recipes these are, whatever their size


class Inherited(NamedTuple):
    """A final training whose settings come from a search.

    Attributes:
      config: settings of the training.
      network: the supernet.
      data: standardised images.
      notes: one line each on what was inherited and what replaces it.
    """

    config: TrainConfig
    network: SearchNetwork
    data: ImageData
    notes: tuple[str, ...]


def inherit(
    folder: Path | str,
    *,
    data: str | ImageData | None = None,
    network: SearchNetwork | None = None,
    data_folder: Path | None = None,
    on_event: Listener | None = None,
    plugins: tuple[str, ...] = (),
    **settings: object,
) -> Inherited:
    """Return the final training of the architecture that a search selected; see `train_run` for the arguments.

    The hyperparameters are those of the published recipe. For images that the recipe is not for, the shift of crops and
    the side of cutout keep their share of the image, images are mirrored only if they were in the search, and a batch
    has at most 64 images and a quarter of the set.

    Raises:
      InputError: a setting does not fit, or network or images cannot be read back.
    """
    folder = to_path(folder)
    selected = load_selected(folder)
    if selected.space == IDS:
        raise InputError(
            f"the search in {folder} knows {selected.arch!r:.80} by its id alone, and has no network to train: train "
            "the architecture with your own code, or search again with the space before the options, as in `jaxnas "
            "search nasbench201 --table ...`"
        )
    given = {name: value for name, value in settings.items() if value is not None}
    notes: list[str] = []
    images = _images(selected, folder, data, data_folder, on_event, notes)
    found = _searched_network(selected, folder, images) if network is None else network
    training, chosen = _training(selected, found, images, given, notes)
    supernet = _fit_network(found, images, training, chosen, notes)
    shown = {name.removeprefix("network."): value for name, value in describe(supernet).items() if "." in name}
    shown = {name: value for name, value in shown.items() if name not in ("blocks", "num_classes", "norm")}
    size = ", ".join(f"{name} {shown[name]}" for name in SIZES if name in shown)
    shape = "x".join(map(str, images.train_images.shape[1:]))
    source = f"{images.name} ({len(images.train_labels)} images of {shape}, {images.num_classes} classes)"
    notes.insert(0, f"from {folder}: {', '.join(filter(None, [selected.space, size, source]))}")
    arch = supernet.space.format(supernet.space.parse(selected.arch))
    name = data if isinstance(data, str) else selected.config["data"] if data is None else images.name
    config = TrainConfig(supernet.space.name, arch, str(name), tuple(sorted(shown.items())), training, plugins)
    return Inherited(config, supernet, images, tuple(notes))


def _images(
    selected: Selected,
    folder: Path,
    data: str | ImageData | None,
    data_folder: Path | None,
    on_event: Listener | None,
    notes: list[str],
) -> ImageData:
    """Return the images of the search, or the given ones."""
    if data is None:
        if selected.origin is not None:
            with refusing_damage(folder):
                return load_origin_images(selected.origin["images"], folder, data_folder, on_event)
        if selected.config.get("table") is not None:
            raise InputError(f"the search in {folder} looked accuracies up: give the data to train on")
        with refusing_damage(folder):
            own = from_record(selected.config).own_objective
        if own:
            raise InputError(f"the search in {folder} evaluated {own}, your objective: give the data to train on")
        data = str(selected.config["data"])
    images = load_standardized(data, data_folder, on_event=on_event) if isinstance(data, str) else data
    if selected.origin is not None and images.name != selected.origin["images"]["name"]:
        notes.append(f"data {images.name} instead of {selected.origin['images']['name']}")
    return images


def _training(
    selected: Selected, network: SearchNetwork, images: ImageData, given: Mapping[str, object], notes: list[str]
) -> tuple[TrainingConfig, Record]:
    """Return the hyperparameters, and the given settings of the network."""
    known = [field.name for field in fields(TrainingConfig) if field.name != "folds"]  # all images train
    if unknown := [name for name in given if name not in (*known, *SIZES)]:
        raise InputError(f"`{unknown[0]}` must be one of {', '.join([*SIZES, *known])}")
    for name in ("epochs", "batch_size"):  # 0 stands for a short training there, which compares candidates
        if given.get(name) == 0:
            raise InputError(f"training `{name}` must be at least 1, got 0")
    published, (recipe, _) = get_recipe(selected.space, network)
    searched = selected.config["training"]
    side = min(images.train_images.shape[1:3])
    fitted: Record = {
        "crop_padding": recipe.crop_padding * side // RECIPE_SIDE,
        "cutout": recipe.cutout * side // RECIPE_SIDE,
    }
    if images.name not in _OF_RECIPES:
        fitted |= {
            "flip": bool(searched.get("flip", False)),
            "batch_size": min(recipe.batch_size, small_batch(len(images.train_labels))),
        }
    chosen: Record = {**fitted, **{name: value for name, value in given.items() if name in known}}
    training = with_settings(recipe, chosen)
    changed = [
        f"{name} {getattr(training, name)} instead of {getattr(recipe, name)}"
        for name in chosen
        if getattr(training, name) != getattr(recipe, name)
    ]
    epochs = "" if "epochs" in given else f", {training.epochs} epochs"
    notes.append(f"published recipe of {published}{epochs}" + (f"; {', '.join(changed)}" if changed else ""))
    return training, {name: value for name, value in given.items() if name in SIZES}


def _searched_network(selected: Selected, folder: Path, images: ImageData) -> SearchNetwork:
    """Return the supernet of the search, with what the published recipe of the space has except the size."""
    published = RECIPES[selected.space].network if selected.space in RECIPES else {}
    if selected.origin is None:
        if selected.space in NETWORKS:
            sizes = {} if selected.config.get("table") else {name: selected.config[name] for name in SIZES}
            return NETWORKS[selected.space](**{**published, **sizes})
    elif selected.origin["network"] is not None:
        fields_of_recipe: Record = {name: value for name, value in published.items() if name not in SIZES}
        with refusing_damage(folder):
            return network_from_record(selected.origin["network"]).clone(**fields_of_recipe)
    if selected.space in CUSTOM_NETWORKS:
        return CUSTOM_NETWORKS[selected.space](images.num_classes)
    raise InputError(
        f"the network of the search in {folder} cannot be read back: give the plugin of space {selected.space} by "
        "--plugin, or `network`"
    )


def _fit_network(
    found: SearchNetwork, images: ImageData, training: TrainingConfig, sizes: Record, notes: list[str]
) -> SearchNetwork:
    """Return the supernet of these sizes for the classes of the images."""
    if unknown := [name for name in sizes if not hasattr(found, name)]:
        raise InputError(f"`{unknown[0]}` must be left out: {type(found).__name__} has no such size")
    changed = [f"{name} {value} instead of {getattr(found, name)}" for name, value in sizes.items()]
    notes.extend([", ".join(changed)] if changed else [])
    if hasattr(found, "auxiliary"):
        sizes = {**sizes, "auxiliary": training.auxiliary_weight > 0}
    return found.clone(num_classes=images.num_classes, **sizes)
