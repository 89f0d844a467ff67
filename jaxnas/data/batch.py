"""The minibatch that proxies are computed on."""

import warnings
from typing import NamedTuple, TypeAlias, cast

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxnas.data.images import TO_CHANNELS_LAST, looks_channels_first
from jaxnas.errors import InputError

AnyArray: TypeAlias = Array | np.ndarray  # what users pass where a JAX array is used


class Batch(NamedTuple):
    """One labelled minibatch. The dtype of the labels decides the loss, see `jaxnas.proxies.loss.loss_of`.

    Attributes:
      images: standardised images [N H W C], or puzzles of P pieces [N P H W C].
      labels: int32 classes of images [N] or of pixels [N H W], or float images [N H W K].
    """

    images: Float[Array, "N *P H W C"]
    labels: Array


def to_batch(batch: Batch) -> Batch:
    """Return a batch of arrays from arrays, lists, series or tensors; arrays of float32 and int32 are unchanged.

    Images that look like [N C H W] are warned of.

    Raises:
      InputError: images or labels are not arrays of numbers or are masked, or images are whole numbers.
    """
    images, labels = (_to_array(name, values) for name, values in zip(Batch._fields, batch, strict=True))
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise InputError(f"images of a batch must be floats, got {images.dtype}: divide by 255 and standardize them")
    if looks_channels_first(images.shape):
        warnings.warn(
            f"images of a batch must be [N, H, W, C], and {list(images.shape)} look like [N, C, H, W]: transpose them "
            f"by {TO_CHANNELS_LAST}",
            stacklevel=3,
        )
    if images.dtype.itemsize < 4:  # float16, bfloat16
        images = images.astype(np.float32)
    if labels.dtype.kind in "iub" and labels.dtype != np.int32:
        labels = labels.astype(np.int32)
    return Batch(cast(Array, images), cast(Array, labels))


def _to_array(name: str, values: object) -> AnyArray:
    if isinstance(values, Array) or type(values) is np.ndarray:
        return values
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise InputError(
            f"{name} of a batch must not be masked, got {int(np.ma.getmaskarray(values).sum())} masked values"
        )
    try:
        array = np.asarray(values)
    except ValueError:
        array = np.array(None)
    if array.dtype.kind not in "iubf":
        raise InputError(f"{name} of a batch must be an array of numbers, got {type(values).__name__}")
    return array
