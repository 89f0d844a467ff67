"""Repetitions of equal blocks, compiled once whatever their number: a scan over their tensors, taps and decisions.

Tensors have the names and values of blocks one after another, and are stacked in each call. What a repetition sows
leaves the scan stacked, and is then sown under the name of that repetition. Of a choice of repetitions those that the
architecture does not have are not computed, and sow zeros.
"""

from collections.abc import Callable
from typing import TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Int, PyTree

from jaxnas.networks.declared.choices import Decisions, distinct
from jaxnas.networks.declared.flow import BlockFlow, Part, part_name
from jaxnas.networks.layers import Exponent
from jaxnas.networks.taps import OF_LAYERS, find_variable, probed, sow_block

_INSIDE = "repeated"  # the name of each repetition inside the scan
_WRITTEN = ("batch_stats", "multipliers", "pools", "relus", "used")
_READ = tuple(name for name in (*OF_LAYERS, "multipliers") if name not in _WRITTEN[1:])

Variables: TypeAlias = dict[str, dict[str, Array]]  # collection, name
Carried: TypeAlias = tuple[Array, Exponent]  # features and their exponent
Repetition: TypeAlias = tuple[Variables, list[Array], Int[Array, ""]]  # its variables, its decisions, its number


class _UnequalError(Exception):
    """The blocks change what a scan must keep."""


class _Owner(nn.Module):
    """The owner of the tensors of one repetition."""

    @nn.compact
    def __call__(self, run: Callable[[nn.Module], BlockFlow]) -> BlockFlow:
        """Return what `run` makes of this module."""
        return run(self)


def scan_blocks(
    flow: BlockFlow, blocks: tuple[Part, ...], name: str, numbers: range, times: Int[Array, ""] | None
) -> bool:
    """Compute the repetitions of these numbers, from 0, of the block called `name`, if they are equal.

    Args:
        flow: The state, which is changed if the result is true.
        blocks: The blocks of one repetition.
        name: The name of the repeated block.
        numbers: The repetitions.
        times: How many repetitions from 0 on count; None for all.

    Returns:
        Whether they are equal, and several or not always there; never while the network is initialised.
    """
    parts = [part_name(name, number + 1) for number in numbers]
    is_single = len(parts) == 1 and times is None
    stacked = None if flow.module.is_initializing() or is_single else _stack(flow.module, parts)
    if stacked is None:
        return False
    decisions = flow.decisions.copy()
    choices = distinct(one for block in blocks for one in block.choices())
    rows = [[decisions.take(one.name) for one in choices] for _ in numbers]
    written = [collection for collection in _WRITTEN if flow.module.is_mutable_collection(collection)]
    sown: dict[tuple[str, ...], PyTree] = {}  # shapes by collection and path, as `compute` returns them

    def compute(carried: Carried, repetition: Repetition) -> tuple[Carried, list[PyTree]]:
        (x, exponent), (variables, row, number) = carried, repetition

        def run(module: nn.Module) -> BlockFlow:
            inner = flow.inside(module, x, exponent, Decisions(row))
            inner.drop_path = flow.drop_path and flow.drop_path.moved(number)
            inner.run(blocks, _INSIDE)
            return inner

        after, values = _Owner(parent=None).apply(variables, run, mutable=written)
        if after.x.shape != x.shape or after.live is not flow.live or after.fresh != flow.fresh:
            raise _UnequalError
        flat = flatten_dict(dict(values))
        sown.update({place: jax.eval_shape(lambda value=value: value) for place, value in flat.items()})
        return (after.x, after.exponent), list(flat.values())

    def leave_out(carried: Carried, repetition: Repetition) -> tuple[Carried, list[PyTree]]:
        if not sown:
            jax.eval_shape(compute, carried, repetition)
        statistics = repetition[0].get("batch_stats", {})
        values = {
            (collection, path): statistics[path]
            if collection == "batch_stats" and path in statistics
            else jax.tree.map(lambda one: jnp.zeros(one.shape, one.dtype), shape)
            for (collection, path), shape in sown.items()
        }
        return carried, list(values.values())

    def repeat(
        carried: Carried, row: tuple[Repetition, Array | None]
    ) -> tuple[Carried, tuple[list[PyTree], Array | None]]:
        repetition, probe = row
        if times is None:
            (x, exponent), values = compute(carried, repetition)
        else:
            (x, exponent), values = jax.lax.cond(repetition[2] < times, compute, leave_out, carried, repetition)
        x = x if probe is None else probed(x, probe)
        return (x, exponent), (values, x if flow.outermost and flow.module.is_mutable_collection("blocks") else None)

    found = [find_variable(flow.module, "probes", part) for part in parts]
    given = [probe for probe in found if probe is not None]
    probes = jnp.stack(given) if given else None
    columns = [jnp.stack(column) for column in zip(*rows, strict=True)]
    try:
        repetitions = (stacked, columns, jnp.arange(numbers.start, numbers.stop))
        (x, exponent), (values, outputs) = jax.lax.scan(repeat, (flow.x, flow.exponent), (repetitions, probes))
    except _UnequalError:
        return False
    flow.x, flow.exponent, flow.decisions = x, exponent, decisions
    for number, part in enumerate(parts):
        if outputs is not None:
            sow_block(flow.module, part, outputs[number], True if times is None else numbers[number] < times)
        for (collection, inside), value in zip(sown, values, strict=True):
            own: PyTree = jax.tree.map(lambda leaf, number=number: leaf[number], value)
            path = part + inside.removeprefix(_INSIDE)
            if collection == "batch_stats":
                flow.module.put_variable(collection, path, own)
            else:
                for one in own:
                    flow.module.sow(collection, path, one)
    return True


def _stack(module: nn.Module, parts: list[str]) -> Variables | None:
    """Return the variables of parts of a module, stacked; None if they differ in names or shapes."""
    stacked: Variables = {}
    for collection, variables in module.variables.items():
        if collection not in _READ:
            continue
        own = [
            {_INSIDE + path.removeprefix(part): leaf for path, leaf in variables.items() if path.startswith(f"{part}_")}
            for part in parts
        ]
        shapes = [{path: jnp.shape(leaf) for path, leaf in one.items()} for one in own]
        if any(one != shapes[0] for one in shapes):
            return None
        stacked[collection] = {path: jnp.stack([one[path] for one in own]) for path in own[0]}
    return stacked
