"""The choice among linear ops against a plain Python choice: values, every derivative, and batches in groups."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxnas.networks.kernels.convolution import conv
from jaxnas.networks.kernels.dispatch import Dispatch, mixed
from jaxnas.networks.kernels.pools import average_pool_3x3
from jaxnas.networks.kernels.switch import add_switch, add_switch_backwards

DISPATCH = Dispatch(("zero", "identity", 1, 3, "pool"))
PLAIN = (
    lambda x, k1, k3: jnp.zeros_like(x),
    lambda x, k1, k3: x,
    lambda x, k1, k3: conv(jax.nn.relu(x), k1),
    lambda x, k1, k3: conv(jax.nn.relu(x), k3),
    lambda x, k1, k3: average_pool_3x3(x),
)
OPS = np.array([3, 0, 4, 1, 3, 2, 2, 3])


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def operands():
    rng = np.random.default_rng(0)
    return tuple(jnp.asarray(rng.normal(size=shape)) for shape in ((2, 4, 5, 3), (1, 1, 3, 3), (3, 3, 3, 3)))


def chosen(op, x, k1, k3, dispatch=DISPATCH):
    return mixed(jnp.asarray(op, jnp.int32), x, x, (k1, k3), dispatch)


@pytest.mark.parametrize("op", range(5))
def test_of_one_architecture_is_the_chosen_op(op, operands):
    np.testing.assert_allclose(jax.jit(chosen)(op, *operands), PLAIN[op](*operands), rtol=1e-12)


@pytest.mark.parametrize("op", [2, 3])
@pytest.mark.parametrize("of_batch", [False, True])
def test_precision_is_that_of_the_call_and_not_of_its_lowering(op, of_batch, operands):
    operands = [operand.astype(jnp.float32) for operand in operands]

    def call(precision, op, *operands):
        with jax.default_matmul_precision(precision):
            of_one = jax.value_and_grad(lambda *operands: (chosen(op, *operands) ** 2).sum(), argnums=(0, 1, 2))
            return of_one(*operands)

    def program(precision):
        function = partial(call, precision)
        return jax.jit(jax.vmap(function, (0, None, None, None)) if of_batch else function)

    ops = jnp.full(3, op) if of_batch else op
    exact, rounded = (program(precision)(ops, *operands) for precision in ("float32", "bfloat16"))
    with jax.default_matmul_precision("bfloat16"):
        within = program("float32")(ops, *operands)
    jax.tree.map(np.testing.assert_array_equal, within, exact)
    assert np.max(np.abs(rounded[0] / exact[0] - 1)) > 1e-5


@pytest.mark.parametrize("op", range(5))
def test_derivatives_to_second_order_in_both_modes(op, operands):
    check_grads(partial(chosen, op), operands, order=2, modes=("fwd", "rev"), rtol=1e-6)


OTHER_CAPACITIES = ((5, 5, 5, 5, 5), (0, 0, 2, 3, 1))


def of_all(function, ops, x, k1, k3, axes):
    """Value, gradient, and the derivative of both along all operands, for each op of `ops`."""

    def program(op, *operands):
        def total(*operands):
            return jnp.square(function(op, *operands)).sum()

        return jax.jvp(jax.value_and_grad(total, argnums=(0, 1, 2)), operands, operands)

    return jax.vmap(program, (0, *axes))(ops, x, k1, k3)


@pytest.mark.parametrize(
    "capacity", [None, (1, 1, 2, 3, 1), *(pytest.param(sizes, marks=pytest.mark.slow) for sizes in OTHER_CAPACITIES)]
)
@pytest.mark.parametrize("axes", [(0, None, None), (None, None, None), (0, 0, 0), (None, 0, None)])
def test_a_batch_in_groups_equals_a_loop_with_all_derivatives(axes, capacity, operands):
    rng = np.random.default_rng(1)
    stacked = [
        operand if axis is None else rng.normal(size=(len(OPS), *operand.shape))
        for operand, axis in zip(operands, axes, strict=True)
    ]
    dispatch = DISPATCH._replace(capacity=capacity)
    ours = jax.jit(lambda *args: of_all(partial(chosen, dispatch=dispatch), OPS, *args, axes))(*stacked)
    for row, op in enumerate(OPS):
        args = [leaf if axis is None else leaf[row] for leaf, axis in zip(stacked, axes, strict=True)]
        plain = of_all(lambda _, *a, op=op: PLAIN[op](*a), OPS[:1], *args, (None,) * 3)
        jax.tree.map(
            lambda a, b, row=row: np.testing.assert_allclose(a[row], b[0], rtol=1e-10, atol=1e-10), ours, plain
        )


def test_more_than_the_capacity_get_zero(operands):
    dispatch = DISPATCH._replace(capacity=(0, 0, 0, 2, 0))
    out = jax.vmap(lambda op: chosen(op, *operands, dispatch=dispatch))(jnp.full(3, 3))
    np.testing.assert_array_equal(out[2], 0)
    assert np.abs(out[:2]).min() > 0


def test_a_group_costs_no_more_than_its_members(operands):
    """FLOPs of eight architectures, two of which convolve, against those of two convolutions."""
    operands = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), operands)
    ops = jnp.array([3, 0, 1, 0, 3, 1, 1, 0])
    dispatch = DISPATCH._replace(capacity=(0, 0, 0, 2, 0))
    program = jax.jit(lambda ops: jax.vmap(lambda op: chosen(op, *operands, dispatch=dispatch))(ops))
    two = jax.jit(lambda x: conv(x, operands[2]))
    cost = program.lower(ops).compile().cost_analysis()["flops"]
    alone = two.lower(jnp.zeros((4, 4, 5, 3), jnp.float32)).compile().cost_analysis()["flops"]
    assert cost < 1.25 * alone


@pytest.mark.parametrize("total", [pytest.param(None, marks=pytest.mark.slow), 1.5])
@pytest.mark.parametrize("op", range(5))
def test_add_switch_is_a_sum_with_the_chosen_branch_and_both_have_its_gradient(op, total, operands):
    total = None if total is None else np.full(operands[0].shape, total)
    branches = tuple(lambda *args, branch=branch: (branch(*args), args[1]) for branch in PLAIN)

    def by_switch(switch, op, total, operands):
        out, rest = switch(op, branches, total, *operands)
        return jnp.square(out).sum() + rest.sum()

    def plainly(op, total, operands):
        out = PLAIN[op](*operands) + (0 if total is None else total)
        return jnp.square(out).sum() + operands[1].sum()

    expected = jax.value_and_grad(partial(plainly, op), argnums=(0, 1))(total, operands)
    for switch in (add_switch, add_switch_backwards):
        ours = jax.jit(jax.value_and_grad(partial(by_switch, switch), argnums=(1, 2)))(op, total, operands)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-12), ours, expected)


def test_add_switch_backwards_has_no_forward_derivative_and_keeps_its_operands_alone(operands):
    """`lax.switch` would keep one more array of the image's size, the cosine."""
    branches = (lambda x: (jnp.zeros_like(x), None), lambda x: (jnp.sin(x), None))

    def add(x):
        return add_switch_backwards(jnp.int32(1), branches, jnp.ones_like(x), x)[0]

    kept = jax.tree.leaves(jax.vjp(add, operands[0])[1])
    assert sum(np.size(leaf) for leaf in kept) <= operands[0].size + 1
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(add, operands[:1], operands[:1])
