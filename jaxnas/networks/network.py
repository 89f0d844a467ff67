"""The base class of networks whose call takes the architecture as an array."""

from functools import partial
from typing import ClassVar, Literal, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int8, PyTree, Shaped

from jaxnas.data.batch import AnyArray
from jaxnas.errors import InputError
from jaxnas.runtime.settings import check_whole
from jaxnas.spaces import SearchSpace

Norm: TypeAlias = Literal["all", "reduction", "none"]
KernelKind: TypeAlias = Literal["attention", "patches"]  # of layers around attention, and that which makes patches
Capacity: TypeAlias = tuple[tuple[int, ...], ...] | None


class SearchNetwork(nn.Module, kw_only=True):
    """A flax module called as ``network.apply(variables, images, arch, train=True)`` that serves a whole search space.

    The architecture `arch` [D] is a traced argument, so that one compiled program serves every architecture. A subclass
    names its `space`, has a field `num_classes`, and declares its layers with `layers.weight_layer` and
    `layers.batch_norm_layer`, which also state whether `arch` uses them. `jaxnas.testing.check_network` checks it.
    All that proxies, the scoring engine and training ask of a network is here; what a subclass does not override or
    read has the default described.

    Attributes:
        groups_ops: The network reads `capacity`, so that many architectures are scored at once on accelerators. Without
            it they are scored one after another.
        drop_path_rises: Training raises the rate of dropped paths with the epochs, from 0 on; else it is constant.
        heads: The kinds of output that the field `head` may name; only "classification" without that field.
        norm: Where batch normalisation acts: everywhere ("all"), only inside residual blocks that reduce the image
            ("reduction"), nowhere ("none"). The parameters are the same, so that params fit every setting.
        capacity: How many architectures of a batch under `vmap` may choose each op, [D][ops]; None: architectures come
            one by one, and a `switch` runs the chosen op. Decides speed alone.
        reverse: Only reverse derivatives will be taken, for which a `switch` may keep less. Decides speed alone.
        fused: The edges of a batch under `vmap` have kernels of their own, on NVIDIA GPUs
            (`jaxnas.networks.kernels.fused`). Decides speed alone.
        keeps_range: Without normalisation, the outputs are divided by 2^exponent, which is sown as "exponent", see
            `jaxnas.networks.units`. Everything is then homogeneous: an activation is a ReLU, and a gate is 1.
    """

    groups_ops: ClassVar[bool] = False
    drop_path_rises: ClassVar[bool] = True
    heads: ClassVar[tuple[str, ...]] = ("classification",)

    norm: Norm = "all"
    capacity: Capacity = None
    reverse: bool = False
    fused: bool = False
    keeps_range: bool = False

    def __post_init__(self) -> None:
        """Check the numbers of classes, channels and cells, of subclasses that have them."""
        for name in ("num_classes", "channels", "cells_per_stage"):
            if name in type(self).__dataclass_fields__:
                object.__setattr__(self, name, check_whole(name, getattr(self, name), 1, 2**31 - 1))
        super().__post_init__()

    @property
    def space(self) -> SearchSpace:
        """The search space of the architectures; a subclass overrides it, in most cases by a class attribute.

        Raises:
            InputError: The subclass does not.
        """
        raise InputError(f"{type(self).__name__} does not name its search space: give it a class attribute `space`")

    @property
    def drops_paths(self) -> bool:
        """Whether the call takes `drop_path`, a rate in [0, 1), and draws from the generator of that name."""
        return False

    @property
    def has_auxiliary_head(self) -> bool:
        """Whether the call sows the logits of a second head as "auxiliary"."""
        return False

    @property
    def is_homogeneous(self) -> bool:
        """Whether `keeps_range` makes the network homogeneous: not with layer normalisation or attention."""
        return True

    @property
    def has_attention(self) -> bool:
        """Whether it has layers of attention, so that AdamW trains it unless another optimizer is given."""
        return "attention" in self.kernel_kinds.values()

    @property
    def kernel_kinds(self) -> dict[str, KernelKind]:
        """Kernels that are not those of usual layers, by path: which layers they have."""
        return {}

    def thinnest(self) -> "SearchNetwork":
        """Return the network of the same kind with two classes, the fewest channels and the fewest cells."""
        return self.clone(num_classes=2)

    def params_for(self, params: PyTree, arch: Int8[AnyArray, " D"]) -> PyTree:
        """Return `params`, drawn for all architectures, as `arch` has them.

        They are unchanged, unless the architecture uses parts of a tensor: a network whose tensors are larger than an
        architecture needs sets the rest to 0 here.
        """
        return params

    def example_images(self, params: PyTree) -> Float[Array, "1 H W C"]:
        """Return zeros of a small shape that the network with these `params` takes.

        Raises:
            InputError: The network does not define it; then pass images to `in_use`.
        """
        raise InputError(f"{type(self).__name__} does not define `example_images`: pass `images` to `in_use`")

    def in_use(
        self,
        params: PyTree,
        arch: Int8[AnyArray, " D"],
        images: Float[AnyArray, "N *P H W C"] | None = None,
    ) -> PyTree:
        """Return for every leaf of `params` a mask over the layers that it stacks: whether `arch` uses the layer.

        The masks are those that the layers declare. A mask has the leading axes of its leaf, or none where the leaf is
        one layer.

        Args:
            params: Params of the network, or their shapes alone.
            arch: The architecture.
            images: Whose shape alone matters; None for `example_images`.
        """
        images = self.example_images(params) if images is None else images
        params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, images.dtype), params)
        return _declared_masks(
            self.clone(capacity=None, reverse=False, fused=False, keeps_range=False), params, images, arch
        )


@partial(jax.jit, static_argnames="network")
def _declared_masks(
    network: SearchNetwork, params: PyTree, images: Float[Array, "N *P H W C"], arch: Int8[Array, " D"]
) -> PyTree:
    """Return the masks alone: whatever else the call computes is unused, and removed before compilation."""
    _, sown = network.apply({"params": params}, images, arch, mutable=["used"])
    masks = jax.tree.map(lambda values: values[0], sown["used"], is_leaf=lambda node: isinstance(node, tuple))
    return jax.tree.map(lambda leaf, mask: mask, params, masks)


def require_network(network: object) -> None:
    """Raise InputError for a class, a name or another value in place of a network."""
    if not isinstance(network, SearchNetwork):
        shown = f"the class {network.__name__}" if isinstance(network, type) else type(network).__name__
        raise InputError(f"`network` must be a network, such as NASBench201Network(num_classes=10), got {shown}")


def check_images(images: Shaped[Array, "..."], name: str) -> None:
    """Raise InputError for images that are not [N, H, W, C], which the network called `name` takes."""
    if images.ndim != 4:
        raise InputError(f"images of shape {images.shape} do not fit {name}: give [N, H, W, C]")
