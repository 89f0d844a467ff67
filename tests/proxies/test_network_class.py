"""The six proxies are functions of the live network, so one score serves all members of a network class."""

import itertools

import golden
import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jaxnas.proxies import OF_LIVE_NETWORK, PROXIES
from jaxnas.scoring.engine import ScoringConfig, score_archs
from jaxnas.spaces import NASBENCH201, enumerate_archs, from_index
from jaxnas.spaces.nasbench201 import NOR_CONV_1X1, NOR_CONV_3X3, canonicalize, network_class

DEAD_CONV, WITHOUT = np.array([3, 0, 2, 3, 0, 0], np.int8), np.array([0, 0, 0, 3, 0, 0], np.int8)


def convs_of(archs):
    """Return `archs` with "none" on every edge without a convolution."""
    return np.where(np.isin(archs, (NOR_CONV_1X1, NOR_CONV_3X3)), archs, 0)


@pytest.fixture(scope="module")
def pairs():
    """By kind six random pairs (member, architecture scored for its class) of two or more live convolutions.

    `canonicalize` removes dead edges but moves nothing, so many classes keep several members without dead edges.
    elsewhere: such members, whose convolutions sit at other edges than those of the architecture that is scored.
    dead: members with a convolution that reaches no output. None has one whose input is 0 throughout: it still has a
    bias, which synflow passes on and fisher multiplies by 1/sqrt(1e-5). That is why what is scored is canonical.
    """
    archs = enumerate_archs(NASBENCH201)
    live, scored = canonicalize(archs), canonicalize(from_index(NASBENCH201, network_class(archs)))
    convs = convs_of(archs)
    node_1 = archs[:, 0] > 0  # does a path from the input arrive here?
    node_2 = (archs[:, 1] > 0) | (node_1 & (archs[:, 2] > 0))
    node_0 = np.ones_like(node_1)
    fed = np.stack([node_0, node_0, node_1, node_0, node_1, node_2], axis=1)
    several = (convs_of(live) > 0).sum(1) >= 2
    kinds = {
        "elsewhere": several & (live == archs).all(1) & (convs != convs_of(scored)).any(1),
        "dead": several & (convs != convs_of(live)).any(1) & (fed | (convs == 0)).all(1),
    }
    rng = np.random.default_rng(0)
    chosen = {kind: rng.choice(np.flatnonzero(fits), 6, replace=False) for kind, fits in kinds.items()}
    return {kind: list(zip(archs[rows], scored[rows], strict=True)) for kind, rows in chosen.items()}


def reindexings(params, arch, scored):
    """Yield `params` for `scored`, in every way that assigns tensors of convolutions of `arch` to its convolutions."""
    sources, targets = np.flatnonzero(convs_of(canonicalize(arch[None])[0])), np.flatnonzero(convs_of(scored))
    others = [np.setdiff1d(np.arange(6), edges) for edges in (sources, targets)]
    for matched in map(list, itertools.permutations(sources)):
        if np.array_equal(arch[matched], scored[targets]):
            order = np.empty(6, int)
            order[targets], order[others[1]] = matched, others[0]
            yield {
                name: jax.tree.map(lambda leaf, order=order: leaf[:, order], tree) if "stage" in name else tree
                for name, tree in params.items()
            }


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["elsewhere", "dead"])
@pytest.mark.parametrize("number", range(6))
def test_members_of_a_class_score_the_same_once_weights_are_reindexed(score, params, batch, pairs, kind, number):
    """The re-indexing is chosen to preserve the logits, which does not determine the scores."""
    arch, scored = pairs[kind][number]
    expected, logits = score(params, arch, batch)
    results = (score(reindexed, scored, batch) for reindexed in reindexings(params, arch, scored))
    same = (scores for scores, others in results if np.allclose(others, logits, rtol=1e-9, atol=1e-11))
    scores = next(same, None)
    assert scores is not None, f"no re-indexing makes {scored} the network {arch}"
    assert OF_LIVE_NETWORK.issubset(PROXIES.values())
    for name, proxy in golden.SIX.items():
        if proxy in OF_LIVE_NETWORK:
            np.testing.assert_allclose(scores[name], expected[name], rtol=1e-9, err_msg=f"{name} {arch} {scored}")


@pytest.mark.slow
def test_without_reindexing_members_differ_by_the_draw(score, params, batch, pairs):
    for pair in pairs["elsewhere"]:
        one, other = (score(params, arch, batch)[0]["snip"] for arch in pair)
        assert abs(one - other) > 1e-6 * one


def squared_norm(q):
    """Return the sum of squares of the kernels of all edges, live or dead: not a function of the live network."""
    in_use = flatten_dict(q.network.in_use(q.params, q.arch), sep="/")
    return sum(
        (in_use[path] * (w**2).sum(tuple(range(in_use[path].ndim, w.ndim)))).sum() for path, w in q.kernels.items()
    )


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["loop", "grouped"])
def test_proxy_that_sees_dead_weights_is_scored_row_by_row(batch, strategy):
    """With one score per class both rows would be equal; only the function of the caller distinguishes them."""
    network, archs = golden.NETWORKS["small"], np.stack([DEAD_CONV, WITHOUT])
    assert len(set(network_class(archs).tolist())) == 1
    batch = jax.tree.map(np.asarray, batch._replace(images=np.float32(batch.images)))
    scores, alone = (
        score_archs(network, archs, batch, {"norm": squared_norm}, ScoringConfig(strategy=strategy, one_per_class=one))
        for one in (True, False)
    )
    np.testing.assert_array_equal(scores, alone)
    assert scores[0] > 1.01 * scores[1]
