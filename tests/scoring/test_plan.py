"""Plans have every row once and spread ops evenly; the program for accelerators computes few other ops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import TinyNetwork

from jaxnas.networks import NASBench201Network, draw_for_all
from jaxnas.proxies import PROXIES, Batch, Quantities
from jaxnas.scoring.plan import balanced_chunks, bytes_per_arch, count_ops, make_plan, make_program
from jaxnas.spaces import NASBENCH201, enumerate_archs, sample

BATCH = Batch(jnp.zeros((4, 8, 8, 3)), jnp.arange(4) % 2)


@pytest.mark.parametrize(("num", "size"), [(1, 4), (5, 2), (1000, 64), (5000, 96)])
def test_balanced_chunks_hold_every_row_once(num, size):
    archs = sample(NASBENCH201, num, seed=0)
    chunks = balanced_chunks(archs, size, 5)
    np.testing.assert_array_equal(np.sort(np.concatenate(chunks)), np.arange(num))
    assert max(map(len, chunks)) <= size


@pytest.mark.parametrize("size", [64, 192])
def test_ops_are_spread_evenly(size):
    """Among all classes the fullest chunk exceeds the mean by a few percent; in a random order by a quarter."""
    archs = enumerate_archs(NASBENCH201)
    archs = archs[np.unique(NASBENCH201.network_class(archs))]
    archs = archs[np.random.default_rng(0).permutation(len(archs))]
    counts = np.array([count_ops(archs[rows], 5) for rows in balanced_chunks(archs, size, 5)])
    by_chance = np.array([count_ops(archs[start : start + size], 5) for start in range(0, len(archs), size)])
    assert counts.max(axis=0).sum() / size / 6 < 1.1
    assert by_chance.max(axis=0).sum() / size / 6 > 1.2


def test_a_loop_takes_rows_in_order_and_shares_them_among_devices():
    plan = make_plan(TinyNetwork(), np.zeros((5, 2), np.int8), BATCH, "loop", None, None)
    assert [rows.tolist() for rows in plan.chunks] == [[0, 1, 2, 3, 4]]
    assert plan.size == 16
    small = make_plan(TinyNetwork(), np.zeros((5, 2), np.int8), BATCH, "loop", 2, None)
    assert [rows.tolist() for rows in small.chunks] == [[0, 1], [2, 3], [4]]


def test_an_architecture_takes_twice_the_bytes_in_float64():
    network = NASBench201Network(num_classes=2, channels=2, cells_per_stage=1)
    single = bytes_per_arch(network, BATCH)
    with jax.enable_x64(True):
        assert bytes_per_arch(network, Batch(np.zeros((4, 8, 8, 3)), BATCH.labels)) == 2 * single


def test_chunks_fit_the_memory_given():
    network, archs = NASBench201Network(num_classes=2, channels=4, cells_per_stage=1), sample(NASBENCH201, 99, seed=0)
    each = bytes_per_arch(network, BATCH) / 1e9
    assert make_plan(network, archs, BATCH, "grouped", None, 10.5 * each).size == 10
    assert make_plan(network, archs, BATCH, "grouped", None, 1e3 * each).size == 99
    assert make_plan(network, archs, BATCH, "grouped", None, 0.1 * each).size == 2


FULL_SIZE = Batch(jnp.zeros((64, 32, 32, 3)), jnp.arange(64) % 2)  # compiled for, but not run


def flops_of_the_loop(network, proxies, params, op):
    """Return the FLOPs of an architecture with the same op everywhere, which is known when compiling."""
    arch = jnp.full(6, op, jnp.int8)

    def program(params):
        quantities = Quantities(network, params, arch, FULL_SIZE)
        return [PROXIES[name](quantities) for name in proxies]

    return jax.jit(program).lower(params).compile().cost_analysis()["flops"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "proxies",
    [("snip",), ("grad_norm", "snip", "grasp", "fisher")],
    ids=lambda names: "-".join(names),
)
def test_flops_of_the_grouped_program_are_those_of_the_chosen_ops(proxies):
    """The factor is at most 1.25; computing all five ops for every architecture takes three times the work."""
    network = NASBench201Network(num_classes=2, channels=16, cells_per_stage=1)
    draw = draw_for_all(network, FULL_SIZE.images.shape[1:], 6, seed=0)
    alone = np.array([flops_of_the_loop(network, proxies, draw.params, op) for op in range(5)])
    archs = sample(NASBENCH201, 1024, seed=0)
    plan = make_plan(network, archs, FULL_SIZE, "grouped", 128, None)
    rows = plan.chunks[0]
    functions = tuple((name, PROXIES[name]) for name in proxies)

    def flops(network):
        program = make_program(network, functions, "grouped", False, True)
        counts = np.array([len(rows)], np.int32)
        return program.lower(counts, archs[rows], draw, FULL_SIZE).compile().cost_analysis()["flops"]

    chosen = alone[archs[rows]].mean(axis=1).sum()  # an edge costs a sixth of an architecture with only its op
    assert flops(plan.network) < 1.25 * chosen
    if len(proxies) == 1:
        assert flops(network) > 2 * chosen  # `vmap` of the switch
