"""The blocks of a declared network as plain JSON values, and back."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import TypeAlias

from jaxnas.errors import InputError
from jaxnas.networks.declared.blocks import Cell, Repeat, Residual
from jaxnas.networks.declared.choices import Choice
from jaxnas.networks.declared.inverted import InvertedResidual
from jaxnas.networks.declared.match import Match
from jaxnas.networks.declared.ops import Activation, Conv, Dense, Depthwise, GlobalAverage, Pool, Skip, Zero
from jaxnas.networks.declared.step import Block, Choose, Op
from jaxnas.networks.declared.tokens import ClassToken, LayerNorm, PatchEmbed, PatchMean
from jaxnas.networks.declared.transformer import Attention, Mlp
from jaxnas.runtime.records import Record

Written: TypeAlias = Block | Choice

_OPS: tuple[type[Op], ...] = (
    Activation,
    Attention,
    ClassToken,
    Conv,
    Dense,
    Depthwise,
    GlobalAverage,
    InvertedResidual,
    LayerNorm,
    Match,
    Mlp,
    PatchEmbed,
    PatchMean,
    Pool,
    Skip,
    Zero,
)
_MAKERS: dict[str, Callable[..., Written]] = {
    "Choice": lambda options, name=None: Choice(tuple(options), name),
    "Choose": lambda ops, name=None: Choose(*ops, name=name),
    "Residual": lambda blocks: Residual(*blocks),
    "Repeat": lambda times, blocks: Repeat(times, *blocks),
    "Cell": lambda ops, nodes, width: Cell(*ops, nodes=nodes, width=width),
    **{kind.__name__: kind for kind in _OPS},
}


def block_record(block: object) -> Record:
    """Return a block as its class, called "block", and its fields.

    Raises:
        InputError: The class is not jaxnas's.
    """
    name = type(block).__name__
    is_known = name in _MAKERS and type(block).__module__.startswith(f"{__package__}.")
    if not is_known or not is_dataclass(block) or isinstance(block, type):
        raise InputError(f"{name} is not a block of jaxnas: it cannot be written down")
    return {"block": name, **{field.name: _plain(getattr(block, field.name)) for field in fields(block)}}


def block_from_record(record: Record) -> Written:
    """Read back what `block_record` returned, also through JSON.

    Raises:
        LookupError, TypeError: Not the record of a block.
        InputError: Its fields do not fit.
    """
    return _MAKERS[record["block"]](**{name: _made(value) for name, value in record.items() if name != "block"})


def _plain(value: object) -> object:
    """Return a field as plain values: it is a number, a text, None, a block, or a tuple of these."""
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value if value is None or isinstance(value, int | float | str) else block_record(value)


def _made(value: object) -> object:
    """Return the field that `_plain` returned."""
    if isinstance(value, list):
        return tuple(_made(one) for one in value)
    return block_from_record(value) if isinstance(value, dict) else value
