"""The folder of a model: tensors as safetensors, everything else as JSON; nothing in it is code."""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np
from flax.errors import FlaxError
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import SafetensorError
from safetensors.numpy import load as read_tensors
from safetensors.numpy import save as tensor_bytes

from jaxnas.errors import InputError, describe_damage
from jaxnas.models.builder import Variables
from jaxnas.models.find import DESCRIPTION, find_model
from jaxnas.models.graph import graph_from_record
from jaxnas.models.model import Model
from jaxnas.models.module import PlainNetwork
from jaxnas.runtime.files import atomic_write, read_bytes
from jaxnas.runtime.host import package_version
from jaxnas.runtime.places import to_path
from jaxnas.runtime.records import Record, check_intact, with_check
from jaxnas.runtime.session import fixed_settings, make_key

FORMAT = 1
_DAMAGED = (
    *(ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, MemoryError),
    *(AssertionError, FlaxError),  # of flax, where shapes do not fit
)
_PACKAGES = ("jax", "flax", "numpy", "safetensors")


def save_model(model: Model, folder: Path | str) -> None:
    """Write model.json and a file of tensors that it names, model-*.safetensors; an older model there is replaced.

    The name of the tensors has their checksum, and the description has its own, which `load_model` checks. The
    description is written last, so that a reader finds the old or the new model, never a mixture.

    Raises:
      InputError: the folder cannot be written into.
    """
    folder = to_path(folder)
    content = tensor_bytes(flatten(model.variables))
    name = f"model-{_digest(content)}.safetensors"
    with atomic_write(folder / name) as partial:
        partial.write_bytes(content)
    record = {
        "format": FORMAT,
        "packages": {"jaxnas": package_version(), **{package: version(package) for package in _PACKAGES}},
        "space": model.space,
        "arch": model.arch,
        "tensors": name,
        "about": model.about,
        "graph": model.graph.record(),
    }
    with atomic_write(folder / DESCRIPTION) as partial:
        partial.write_text(json.dumps(with_check(record), indent=1, allow_nan=False) + "\n")
    for old in folder.glob("model-*.safetensors"):
        if old.name != name:
            old.unlink(missing_ok=True)


def load_model(folder: Path | str) -> Model:
    """Read the model of a folder: one that `Model.save` wrote, or that of a training or a trained search.

    A description without a checksum, as earlier versions wrote it, is read too; an altered number in it shows only
    where it does not fit the others.

    Raises:
      InputError: the folder has no model, or a file is damaged or of a later format; the message names it.
    """
    folder = find_model(folder)
    path = folder / DESCRIPTION
    content = read_bytes(path)
    try:
        record: Record = dict(json.loads(content).items())
        if record["format"] != FORMAT:
            raise InputError(f"{path} has format {record['format']!r:.20}, not {FORMAT}: update jaxnas")
        check_intact(record)
        graph = graph_from_record(record["graph"])
        tensors = folder / Path(str(record["tensors"])).name
        variables = _read_variables(tensors)
        model = Model(str(record["space"]), str(record["arch"]), graph, variables, dict(record["about"]))
        _check_tensors(model, tensors)
    except _DAMAGED as error:
        if isinstance(error, InputError) and str(folder) in str(error):
            raise
        problem = describe_damage(error)
        raise InputError(f"{path} is damaged or not of a model ({problem:.100}): save the model again") from error
    return model


def flatten(variables: Variables) -> dict[str, np.ndarray]:
    """Return the tensors by path, such as "params/stem/conv1/kernel"."""
    return {path: np.ascontiguousarray(leaf) for path, leaf in flatten_dict(variables, sep="/").items()}


def _read_variables(path: Path) -> Variables:
    """Read what `flatten` named, after a check of the digest in the file's name."""
    content = read_bytes(path)
    if path.name != f"model-{_digest(content)}.safetensors":
        raise InputError(f"{path} is damaged: its content does not match its name; save the model again")
    try:
        tensors: Variables = unflatten_dict(read_tensors(content), sep="/")
    except SafetensorError as error:
        raise InputError(f"{path} is damaged ({error}): save the model again") from error
    return {"params": {}, "batch_stats": {}} | tensors


def _check_tensors(model: Model, path: Path) -> None:
    """Check that the tensors have the shapes that the graph needs, and the logits one number for each class."""
    images = jax.ShapeDtypeStruct((1, *model.image_shape), np.float32)
    with fixed_settings(float64=False):
        logits, variables = jax.eval_shape(PlainNetwork(model.graph).init_with_output, make_key(0), images)
    wanted, found = (
        {path: leaf.shape for path, leaf in flatten_dict(tree, sep="/").items()}
        for tree in (variables, model.variables)
    )
    if differing := sorted(name for name in wanted | found if wanted.get(name) != found.get(name)):
        name = differing[0]
        raise InputError(f"{path}: tensor {name} must have shape {wanted.get(name)}, got {found.get(name)}")
    if logits.shape != (1, len(model.class_names)):
        raise InputError(f"{path}: {len(model.class_names)} class names for {logits.shape[-1]} outputs")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
