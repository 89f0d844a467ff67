"""The minibatch that proxies are computed on."""

from typing import NamedTuple

from jaxtyping import Array, Float


class Batch(NamedTuple):
    """One labelled minibatch. The dtype of the labels decides the loss, see `proxies.loss.loss_of`.

    Images are [N, H, W, C], or puzzles [N, P, H, W, C]; labels are classes [N] or [N, H, W], or images [N, H, W, K].
    """

    images: Float[Array, "N *P H W C"]
    labels: Array  # int32 [N] or [N, H, W], or floats [N, H, W, K]
