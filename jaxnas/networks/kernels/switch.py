"""One branch out of several, chosen by number, for one architecture after another.

A `switch` is best as it is, except for what it keeps for a backward pass: `add_switch`, `add_switch_backwards`, and
`add_chosen` for either.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeAlias, TypeVar

import jax
from jax import lax
from jaxtyping import Array, Int, PyTree

Rest = TypeVar("Rest", bound=PyTree)
Branch: TypeAlias = Callable[..., tuple[Array, Rest]]  # of the operands, to y and the rest


def add_switch(
    op: Int[Array, ""], branches: tuple[Branch[Rest], ...], total: Array | None, *operands: PyTree
) -> tuple[Array, Rest]:
    """Return (total + y, the rest) for (y, the rest) of the chosen branch, in one pass over memory."""
    result: tuple[Array, Rest] = lax.switch(op, [partial(_add, branch) for branch in branches], total, *operands)
    return result


def _add(branch: Branch[Rest], total: Array | None, *operands: PyTree) -> tuple[Array, Rest]:
    out, rest = branch(*operands)
    return (out if total is None else total + out), rest


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def add_switch_backwards(
    op: Int[Array, ""], branches: tuple[Branch[PyTree], ...], total: Array | None, *operands: PyTree
) -> tuple[Array, PyTree]:
    """Do as `add_switch` does, with a reverse derivative alone.

    Backwards, the chosen branch is computed again from its operands. A `switch` itself keeps what any branch needs for
    the way back, and fills with zeros what the chosen one does not.
    """
    return add_switch(op, branches, total, *operands)


_Kept: TypeAlias = tuple[Array, tuple[PyTree, ...], tuple[()] | None]  # op, operands, () if there is a total


def _keep_operands(
    op: Array, branches: tuple[Branch[PyTree], ...], total: Array | None, *operands: PyTree
) -> tuple[tuple[Array, PyTree], _Kept]:
    return add_switch(op, branches, total, *operands), (op, operands, None if total is None else ())


def _pull_back(
    branches: tuple[Branch[PyTree], ...], kept: _Kept, cotangents: tuple[Array, PyTree]
) -> tuple[PyTree, ...]:
    op, operands, has_total = kept

    def pullback(branch: Branch[PyTree]) -> Callable[[PyTree, PyTree], tuple[PyTree, ...]]:
        return lambda operands, cotangents: jax.vjp(branch, *operands)[1](cotangents)

    of_total = None if has_total is None else cotangents[0]
    return None, of_total, *lax.switch(op, [pullback(branch) for branch in branches], operands, cotangents)


add_switch_backwards.defvjp(_keep_operands, _pull_back)


def add_chosen(
    op: Int[Array, ""], branches: tuple[Branch[Rest], ...], total: Array | None, *operands: PyTree, reverse: bool
) -> tuple[Array, Rest]:
    """Return `add_switch_backwards` of the arguments where only `reverse` derivatives are taken, else `add_switch`."""
    if reverse:
        result: tuple[Array, Rest] = add_switch_backwards(op, branches, total, *operands)
        return result
    return add_switch(op, branches, total, *operands)
