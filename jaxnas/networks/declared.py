"""A space and its network from a list of blocks: choices of ops on edges, of widths, of depths.

    network = DeclaredNetwork(
        "mine",
        (Conv(choice(8, 16, 32)), Repeat(choice(1, 2, 3), Residual(Choose(Conv(), Conv(size=1), Skip()))), Conv(64)),
    )
    network.space  # 3 x 3 x 3 ... architectures, written like "16:2:conv3:skip:conv1"

Every place where a choice stands is a decision of its own; in `Repeat` also of each repetition. One compiled program
serves all architectures: a tensor has the size of its largest choice, and `own_params` sets to 0 what an architecture
does not use and draws the rest for the width that feeds it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import unflatten_dict
from jaxtyping import Array, Float, Int8, PyTree

from jaxnas.errors import InputError
from jaxnas.networks.layers import (
    apply_batch_norm,
    apply_layer,
    average_pool_2x2,
    average_pool_3x3,
    batch_norm_layer,
    max_pool_3x3,
    record_statistics,
    weight_layer,
)
from jaxnas.spaces.declared import choice_space
from jaxnas.spaces.space import SearchSpace


@dataclass(frozen=True)
class Choice:
    """A decision among numbers: of channels, or of repetitions."""

    options: tuple[int, ...]


def choice(*options: int) -> Choice:
    """A decision among these numbers."""
    if not options or any(not isinstance(option, int) or option < 0 for option in options):
        raise InputError(f"choice{options}: give whole numbers from 0 on; ops are chosen with Choose(...)")
    return Choice(options)


class _Layers(NamedTuple):
    """The tensors of one op, declared."""

    layer: Any
    norm: Any


@dataclass(frozen=True)
class Skip:
    """The identity."""

    def choices(self) -> Iterator[tuple]:
        """The decisions of the block, in the order in which it takes them."""
        yield from ()

    @property
    def label(self) -> str:
        """How an architecture's text names the op."""
        return "skip"

    def declare(self, flow, name, width):
        if width != flow.x.shape[-1]:
            raise InputError(
                f"{self.label} cannot change {flow.x.shape[-1]} channels to {width}: choose among equal ones"
            )
        return _Layers(None, None)

    def apply(self, layers, x, how):
        return x, None


@dataclass(frozen=True)
class Zero(Skip):
    """Nothing: zeros."""

    label = "zero"

    def apply(self, layers, x, how):
        return jnp.zeros_like(x), None


@dataclass(frozen=True)
class Pool(Skip):
    """Average or maximum of the 3x3 neighbourhood, stride 1."""

    kind: Literal["avg", "max"] = "avg"

    @property
    def label(self) -> str:
        return f"{self.kind}pool"

    def apply(self, layers, x, how):
        return (average_pool_3x3 if self.kind == "avg" else max_pool_3x3)(x), None


@dataclass(frozen=True)
class Conv(Skip):
    """ReLU, convolution, normalisation; without the ReLU where images come in. `width` None: as many as come in."""

    width: int | Choice | None = None
    size: int = 3
    stride: int = 1

    @property
    def label(self) -> str:
        return f"conv{self.size}"

    def choices(self):
        if isinstance(self.width, Choice):
            yield self.width.options

    def declare(self, flow, name, width):
        declare = dict(batch=len(flow.x), normalised=flow.norm)
        layer = weight_layer(flow.module, name, (self.size, self.size, flow.x.shape[-1], width), **declare)
        return _Layers(layer, batch_norm_layer(flow.module, f"{name}_norm", width))

    def apply(self, layers, x, how):
        out = apply_layer(layers.layer, nn.relu(x) if how["relu"] else x, self.stride)
        return apply_batch_norm(layers.norm, out, train=how["train"]) if how["norm"] else (out, layers.norm)


@dataclass(frozen=True)
class Dense(Skip):
    """ReLU, linear layer with a bias, on features [N 1 1 C]; without the ReLU where the features come in."""

    width: int | Choice | None = None
    label = "dense"

    def choices(self):
        if isinstance(self.width, Choice):
            yield self.width.options

    def declare(self, flow, name, width):
        if flow.x.shape[1:3] != (1, 1):
            raise InputError(f"Dense takes features, not {flow.x.shape[1]} x {flow.x.shape[2]} pixels: use Conv")
        shape = (flow.x.shape[-1], width)
        return _Layers(weight_layer(flow.module, name, shape, batch=len(flow.x), bias=True), None)

    def apply(self, layers, x, how):
        features = x[:, 0, 0]
        return apply_layer(layers.layer, nn.relu(features) if how["relu"] else features)[:, None, None], None


Op = Skip | Zero | Pool | Conv | Dense


@dataclass(frozen=True)
class Choose:
    """One of several ops, whose outputs have equal shapes: a decision."""

    ops: tuple[Op, ...]

    def __init__(self, *ops: Op):
        if not ops or any(not isinstance(op, Skip) or list(op.choices()) for op in ops):
            raise InputError("Choose takes Skip, Zero, Pool, Conv and Dense, of fixed width")
        object.__setattr__(self, "ops", ops)

    def choices(self):
        """See `Skip.choices`."""
        yield tuple(op.label for op in self.ops)

    @property
    def width(self) -> int | None:
        """That of its ops."""
        return next((op.width for op in self.ops if isinstance(op, Conv | Dense)), None)  # type: ignore[return-value]


@dataclass(frozen=True)
class _Blocks:
    blocks: tuple

    def choices(self):
        """See `Skip.choices`."""
        for block in self.blocks:
            yield from block.choices()


@dataclass(frozen=True)
class Residual(_Blocks):
    """x + blocks(x). Where they change shape or width, x goes through 2x2 averages (if they halve) and a 1x1 layer."""

    def __init__(self, *blocks):
        object.__setattr__(self, "blocks", blocks)

    def __call__(self, flow, name):
        x, live, fresh = flow.x, flow.live, flow.fresh
        flow.run(self.blocks, name)
        out, out_live = flow.x, flow.live
        if out.shape != x.shape or out_live is not live:
            halves = out.shape[1:3] != x.shape[1:3]
            flow.x, flow.live = average_pool_2x2(x) if halves else x, live
            if flow.x.shape[1:3] != out.shape[1:3]:
                raise InputError(f"Residual of {x.shape[1:3]} and {out.shape[1:3]} pixels: its blocks may halve once")
            x = flow.plain(f"{name}_shortcut", out.shape[-1], out_live, flow.active)
        flow.x, flow.live, flow.fresh = out + x, out_live, fresh and flow.fresh


@dataclass(frozen=True)
class Repeat(_Blocks):
    """The blocks again and again, each time with decisions of their own; they keep shape and width.

    With a choice of `times` all of the most repetitions are computed, and those beyond the choice passed by.
    """

    times: int | Choice = 1
    blocks: tuple = field(default=())

    def __init__(self, times: int | Choice, *blocks):
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "blocks", blocks)

    @property
    def most(self) -> int:
        """Of the possible numbers of repetitions."""
        return max(self.times.options) if isinstance(self.times, Choice) else self.times

    def choices(self):
        if isinstance(self.times, Choice):
            yield self.times.options
        for _ in range(self.most):
            yield from super().choices()

    def __call__(self, flow, name):
        times, active = flow.take(self.times), flow.active
        for number in range(self.most):
            x, live = flow.x, flow.live
            if isinstance(self.times, Choice):
                flow.active = active & (number < times)
            flow.run(self.blocks, f"{name}_{number + 1}")
            if isinstance(self.times, Choice):
                if flow.x.shape != x.shape or flow.live is not live:
                    raise InputError("Repeat with a choice of times takes blocks that keep shape and width")
                flow.x = jnp.where(number < times, flow.x, x)
        flow.active = active


@dataclass(frozen=True)
class Cell:
    """Nodes 0..n, node j the sum over i < j of the op of edge (i, j) on node i; gives the last.

    Edges come as in NAS-Bench-201: (0, 1), (0, 2), (1, 2), (0, 3), ... One op, or one for each edge; those of edges
    from node 0 go to `width` channels, a Skip or Pool there through a 1x1 layer where it is another number.
    """

    ops: tuple[Op | Choose, ...]
    nodes: int = 3
    width: int | Choice | None = None

    def __init__(self, *ops: Op | Choose, nodes: int = 3, width: int | Choice | None = None):
        edges = nodes * (nodes + 1) // 2
        if len(ops) not in (1, edges):
            raise InputError(f"a cell of {nodes} nodes after its input has {edges} edges: give one op, or one for each")
        object.__setattr__(self, "ops", ops * edges if len(ops) == 1 else ops)
        object.__setattr__(self, "nodes", nodes)
        object.__setattr__(self, "width", width)

    def choices(self):
        """See `Skip.choices`."""
        if isinstance(self.width, Choice):
            yield self.width.options
        for op in self.ops:
            yield from op.choices()

    def __call__(self, flow, name):
        x, live = flow.x, flow.live
        width, out_live = flow.width(self.width)
        nodes, ops = [(x, live)], iter(self.ops)
        for target in range(1, self.nodes + 1):
            total: Any = 0
            for source in range(target):
                flow.x, flow.live = nodes[source]
                flow.op(next(ops), f"{name}_{source}to{target}", width, out_live)
                total = total + flow.x
            nodes.append((total, out_live))
        flow.x, flow.live = nodes[-1]


class _Flow:
    """What passes through the blocks of one call: features, how many channels of them live, the decisions to come."""

    def __init__(self, module, images, arch, norm, train):
        self.module, self.x, self.norm, self.train = module, images, norm, train
        self.live: Any = None  # channels that are not 0; None: all
        self.active: Any = True  # is this repetition one of those chosen?
        self.fresh = True  # images, which no ReLU is for
        self.decisions = iter(arch)
        self.sows = module.is_mutable_collection("multipliers")

    def run(self, blocks, name):
        for number, block in enumerate(blocks):
            own = f"{name}_{number + 1}" if name else f"block{number + 1}"
            if isinstance(block, Skip | Choose):
                width, live = self.width(getattr(block, "width", None))
                self.op(block, own, width, live)
            else:
                block(self, own)

    def take(self, value):
        """The chosen option, or what is no choice as it is."""
        return jnp.asarray(value.options)[next(self.decisions)] if isinstance(value, Choice) else value

    def width(self, value):
        """The most channels, and how many of them live."""
        if isinstance(value, Choice):
            return max(value.options), self.take(value)
        return (self.x.shape[-1], self.live) if value is None else (value, None)

    def op(self, op, name, width, live):
        """The features after one op, or one that is chosen; the tensors of all are there."""
        ops = op.ops if isinstance(op, Choose) else (op,)
        pick = next(self.decisions).astype(jnp.int32) if isinstance(op, Choose) else 0
        changes = width != self.x.shape[-1] or live is not self.live
        if changes and not all(isinstance(one, Conv | Dense) for one in ops):
            fresh = self.fresh
            nothing = jnp.array([isinstance(one, Zero) for one in ops])[pick]
            self.x, self.live = self.plain(f"{name}_in", width, live, self.active & ~nothing), live
            self.fresh = fresh
        how = dict(relu=not self.fresh, norm=self.norm, train=self.train)
        names = [f"{name}_{number}_{one.label}" if len(ops) > 1 else name for number, one in enumerate(ops, start=1)]
        layers = [one.declare(self, own, width) for own, one in zip(names, ops, strict=True)]
        for number, own in enumerate(names):
            self._say(own, layers[number], live, self.active & (pick == number))
        weighted = [isinstance(one, Conv | Dense) for one in ops]
        if not self.fresh and any(weighted):
            self._sow_relu(name, jnp.array(weighted)[pick])
        self.x, norms = _apply_chosen(ops, pick, self.x, layers, how)
        for own, norm in zip(names, norms, strict=True):
            if norm is not None:
                record_statistics(self.module, f"{own}_norm", norm)
        self.live, self.fresh = live, self.fresh and not any(weighted)

    def plain(self, name, width, live, used):
        """A 1x1 layer without more, from the features to `width` channels."""
        layer = weight_layer(self.module, name, (1, 1, self.x.shape[-1], width), batch=len(self.x))
        self._say(name, _Layers(layer, None), live, used)
        return apply_layer(layer, self.x)

    def _sow_relu(self, name, used):
        used = used & self.active
        self.module.sow("relus", name, (self.x, used if self.live is None else used & self._lives(self.x, self.live)))

    def _lives(self, x, live):
        return jnp.arange(x.shape[-1]) < (x.shape[-1] if live is None else live)

    def _say(self, name, layers, live, used):
        """By what the tensors of a layer are multiplied: 0 where they do not count, else for the width that feeds."""
        if not self.sows or layers.layer is None:
            return
        kernel = layers.layer.kernel
        fed = kernel.shape[-2] if self.live is None else self.live
        outputs = (jnp.arange(kernel.shape[-1]) < (kernel.shape[-1] if live is None else live)) & used
        inputs = jnp.arange(kernel.shape[-2]) < fed
        factor = jnp.sqrt(kernel.shape[-2] / fed)
        whole = jnp.broadcast_to(factor * (inputs[:, None] & outputs), kernel.shape)
        self.module.sow("multipliers", name, whole)
        if layers.layer.bias is not None:
            self.module.sow("multipliers", f"{name}_bias", factor * outputs)
        if layers.norm is not None:
            for part in ("gamma", "beta"):
                self.module.sow("multipliers", f"{name}_norm_{part}", 1.0 * outputs)


def _apply_chosen(ops, pick, x, layers, how):
    def branch(number):
        def run(x, layers):
            out, norm = ops[number].apply(layers[number], x, how)
            return out, [norm if other == number else layers[other].norm for other in range(len(ops))]

        return run

    if len(ops) == 1:
        return branch(0)(x, layers)
    shapes = [jax.eval_shape(branch(number), x, layers)[0].shape for number in range(len(ops))]
    if len(set(shapes)) > 1:
        raise InputError(f"Choose among ops of shapes {', '.join(map(str, shapes))}: give equal widths and strides")
    return jax.lax.switch(pick, [branch(number) for number in range(len(ops))], x, layers)


class DeclaredNetwork(nn.Module):
    """Logits [N K] of images [N H W C], or of features [N 1 1 F], under an architecture of its `space`.

    The blocks, a last ReLU, the average over pixels, a linear classifier. Attributes: `space_name`; `blocks`, see the
    classes above; `norm`: normalisation everywhere ("all") or nowhere.
    """

    space_name: str
    blocks: tuple
    num_classes: int = 10
    norm: Literal["all", "reduction", "none"] = "all"

    @property
    def space(self) -> SearchSpace:
        """All combinations of the choices, in the order of the blocks."""
        return choice_space(self.space_name, tuple(option for block in self.blocks for option in block.choices()))

    @nn.compact
    def __call__(
        self, images: Float[Array, "N H W C"], arch: Int8[Array, " D"], *, train: bool = True
    ) -> Float[Array, "N K"]:
        if images.ndim != 4:
            raise InputError(f"images of shape {images.shape}: give [N, H, W, C], or features as [N, 1, 1, F]")
        if arch.shape != (len(self.space.num_choices),):
            raise InputError(
                f"architecture of shape {arch.shape}: {self.space_name!r} has {len(self.space.num_choices)}"
            )
        flow = _Flow(self, images, jnp.asarray(arch), self.norm == "all", train)
        flow.run(self.blocks, "")
        flow._sow_relu("last", jnp.ones((), bool))
        x = nn.relu(flow.x)
        self.sow("features", "last", x)
        layer = weight_layer(self, "classifier", (x.shape[-1], self.num_classes), batch=len(x), bias=True)
        flow._say("classifier", _Layers(layer, None), None, True)
        return apply_layer(layer, x.mean((1, 2)))

    def own_params(self, params: PyTree, arch: Int8[Array, " D"]) -> PyTree:
        """`params` as the architecture has them: 0 where it has none, drawn for its own widths elsewhere."""
        return jax.tree.map(jnp.multiply, params, self._multipliers(params, arch))

    def in_use(self, params: PyTree, arch: Int8[Array, " D"]) -> PyTree:
        """For every element of `params`: does the architecture use it?"""
        return jax.tree.map(lambda multiplier: multiplier > 0, self._multipliers(params, arch))

    def _multipliers(self, params, arch):
        """They depend on the architecture alone, and are said on the way through the network."""
        channels = params[_first(self.blocks, params)].shape[-2]
        dtype = jax.tree.leaves(params)[0].dtype
        pixels = 1 if any(leaf.ndim == 2 for path, leaf in params.items() if path != "classifier") else 8
        images = jnp.zeros((2, pixels, pixels, channels), dtype)
        full = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, dtype), params)  # `params` may be shapes alone
        apply = jax.jit(partial(self.apply, mutable=["multipliers"]))
        _, said = apply({"params": full}, images, jnp.asarray(arch))
        flat = {path: jnp.asarray(value[0], dtype) for path, value in said["multipliers"].items()}
        return unflatten_dict({tuple([path]): flat[path] for path in params})


def _first(blocks, params):
    """The path of a kernel that images go into."""
    kernels = [path for path, leaf in params.items() if leaf.ndim in (2, 4) and path.startswith("block1")]
    return kernels[0]
