"""The minibatch that proxies are computed on."""

from typing import NamedTuple

from jaxtyping import Array, Float


class Batch(NamedTuple):
    """One labelled minibatch. The dtype of the labels decides the loss, see `jaxnas.proxies.loss.loss_of`.

    Attributes:
      images: standardised images [N H W C], or puzzles of P pieces [N P H W C].
      labels: int32 classes of images [N] or of pixels [N H W], or float images [N H W K].
    """

    images: Float[Array, "N *P H W C"]
    labels: Array
