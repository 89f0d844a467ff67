"""Compare all proxies except RoBoT's six with plain second definitions, and check the metadata of all PROXIES."""

import functools
import itertools
import re
from types import SimpleNamespace

import golden
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from tiny import CONV, NONE, SKIP, TinyNetwork

from jaxnas.proxies import PROXIES, Batch, Quantities, about, regularised_swap, swap
from jaxnas.proxies.about import EXACT, LOWER_IS_BETTER, PASSES
from jaxnas.proxies.draws import draw_noise

MIXED = (3, 4, 2, 1, 0, 3)  # every op
TWO_PATHS = (3, 2, 0, 1, 4, 3)
ALL_NONE = (0, 0, 0, 0, 0, 0)
DISCONNECTED = (3, 2, 1, 0, 0, 0)
IDENTITY = (0, 0, 0, 1, 0, 0)

NUM_IMAGES = 33  # odd, and more than the 16 and the 32 images that some proxies read
WITH_ORACLE = (
    *("meco", "near", "naswot", "swap", "logsynflow"),
    *("zico", "grad_sign", "ntk_condition", "ntk_trace"),
    *("az_expressivity", "az_progressivity", "az_trainability", "linear_regions"),
)
DRAWN = {  # random draws of proxies that an oracle must know
    "noise": lambda q: q.noise,
    "block_jacobians": lambda q: q.block_jacobians,
    "thin_relus": lambda q: q.thin_relus,
}


class SameNoise(Quantities):
    """Draw noise in float32 in either precision."""

    @functools.cached_property
    def noise(self):
        images = self.batch.images.astype(jnp.float32)
        noise = draw_noise(self.key, self.network, self.params, self.arch, images)
        return jax.tree.map(lambda leaf: leaf.astype(self.batch.images.dtype), noise)


# XLA's optimisation takes longer than a few runs without it.
compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def compile_proxies(network, dtype, proxies):
    """Return score(params, arch, batch) -> {name: value} as NumPy values."""

    @compiled
    def program(params, arch, batch):
        q = SameNoise(network, params, arch, batch)
        return {name: proxy(q) for name, proxy in proxies.items()}

    def score(params, arch, batch):
        with jax.enable_x64(dtype == np.float64):
            params, images = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), (params, batch.images))
            return jax.device_get(program(params, jnp.array(arch, jnp.int8), Batch(images, jnp.asarray(batch.labels))))

    return score


def draw_batch(side, channels, num_classes):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(NUM_IMAGES, side, side, channels))
    return Batch(images, rng.integers(0, num_classes, NUM_IMAGES).astype(np.int32))


@pytest.fixture(scope="module")
def case(params):
    """Return params and batch. A large last beta would make the gradients of one image rounding noise."""
    return params | {"norm_gamma": np.ones(16), "norm_beta": np.zeros(16)}, draw_batch(12, 3, 10)


@pytest.fixture(scope="module")
def score_13():
    """Return the proxies with an oracle, and what they draw, on the small reference network in float64."""
    return compile_proxies(golden.NETWORKS["small"], np.float64, {name: PROXIES[name] for name in WITH_ORACLE} | DRAWN)


@pytest.fixture(scope="module")
def found(score_13, case):
    """Return found(arch), the result of `score_13` for the case."""
    return functools.cache(lambda arch: score_13(case[0], arch, case[1]))


# Second definitions, in NCHW as `oracles`.


def run_relus(flat, arch, images):
    """Return the inputs of the ReLUs."""
    seen = []

    def tap(name, out):
        if name.startswith("relu"):
            seen.append(out)
        return out

    oracles.logits(flat, arch, images, tap=tap)
    return seen


def kaiming(noise):
    """Scale kernels from N(0, 1) to N(0, 2 / fan-in)."""
    flat = oracles.flatten(noise.params)
    return {
        name: leaf * np.sqrt(2 / np.prod(leaf.shape[:-1])) if oracles.is_weight(name) else leaf
        for name, leaf in flat.items()
    }


def run_blocks(flat, arch, images, signs):
    """Outputs of the blocks, and what `signs` at those of all but the first become at their inputs.

    A block's input is cut from the block before, and has an addition in whose place the derivative is.
    """

    def of_additions(additions):
        outputs = []

        def tap(name, out):
            if not name.startswith("block"):
                return out
            outputs.append(out)
            return jax.lax.stop_gradient(out) + additions[len(outputs) - 1]

        oracles.logits(flat, arch, images, tap=tap)
        return outputs

    shapes = jax.eval_shape(of_additions, [0.0] * (len(signs) + 1))
    zeros = [jnp.zeros(shape.shape, shape.dtype) for shape in shapes]
    outputs, pullback = jax.vjp(of_additions, zeros)
    return outputs, pullback([zeros[0], *signs])[0][:-1]


def derivatives(params, arch, batch):
    """Return by quantity and layer: dL/dw of halves and of images, d(sum of logits)/dw, synaptic flow."""
    flat = oracles.flatten(params)
    weights = {name: leaf for name, leaf in flat.items() if oracles.is_weight(name)}

    def of_parts(size, number):
        parts = jax.tree.map(lambda leaf: leaf[: size * number].reshape(number, size, *leaf.shape[1:]), batch)
        return jax.lax.map(lambda part: jax.grad(lambda w: oracles.loss(flat | w, arch, part))(weights), parts)

    def of_logits(weights):
        return oracles.logits(flat | weights, arch, batch.images[:16]).sum(1)

    def flow(positive):
        image = jnp.ones((1, *batch.images.shape[1:]), jnp.float64)
        return oracles.logits(positive, arch, image, norm="none").sum()

    gradient = jax.grad(flow)({name: jnp.abs(leaf) for name, leaf in flat.items()})
    return {
        "halves": of_parts(len(batch.images) // 2, 2),
        "images": of_parts(1, 16),
        "jacobians": jax.lax.map(lambda row: jax.vjp(of_logits, weights)[1](row)[0], jnp.eye(16)),
        "flow": {name: (jnp.abs(leaf), gradient[name]) for name, leaf in weights.items()},
    }


@pytest.fixture(scope="module")
def observed(case, found):
    """Return observed(arch), the inputs of the second definitions by name."""

    @functools.cache
    def of_arch(arch):
        @compiled
        def program(params, batch, noise, signs):
            blocks, pulled = run_blocks(kaiming(noise), arch, noise.images, signs)
            relus = run_relus(oracles.flatten(params), arch, batch.images)
            of_values = {"relus": relus, "blocks": blocks, "signs": signs, "pulled": pulled}
            return derivatives(params, arch, batch) | of_values

        drawn = found(arch)
        signs = [to_nchw(at_output) for at_output, _ in drawn["block_jacobians"]]
        with jax.enable_x64(True):
            return jax.device_get(program(*case, drawn["noise"], signs))

    return of_arch


def to_nchw(x):
    return x.transpose(0, 3, 1, 2)


def by_position(x):
    """Transpose [N C H W] to [N H W C]."""
    return x.transpose(0, 2, 3, 1).reshape(-1, x.shape[1])


def meco(relus):
    total = 0.0
    for x in relus:
        with np.errstate(invalid="ignore"):
            correlation = np.nan_to_num(np.corrcoef(x[0].reshape(x.shape[1], -1)))
        total += np.linalg.eigvalsh(correlation)[0]
    return total


def near(relus):
    total = 0.0
    for x in relus:
        rows = by_position(x)
        chosen = rows[np.arange(x.shape[1]) * len(rows) // x.shape[1]]
        total += effective_rank(chosen) + effective_rank(np.maximum(chosen, 0))
    return total


def effective_rank(matrix):
    p = np.linalg.svd(matrix, compute_uv=False)
    p = p[p > 0] / p.sum()
    return np.exp(-np.sum(p * np.log(p)))


def num_patterns(relus, axis):
    """Count distinct patterns of [images ReLUs]: of all ReLUs per image (axis 0), of all images per ReLU (axis 1)."""
    on = np.concatenate([x.reshape(len(x), -1) > 0 for x in relus], axis=1)
    return np.unique(on, axis=axis).shape[axis]


def naswot(relus):
    rows = np.concatenate([x.reshape(len(x), -1) for x in relus], axis=1)
    return np.linalg.slogdet(rows @ rows.T)[1]


def zico(halves):
    total = 0.0
    for g in halves.values():
        mean, std = np.abs(g).mean(0), g.std(0)
        inner = np.sum(mean[std > 0] / std[std > 0])
        total += np.log(inner) if inner > 0 else 0
    return total


def kernel(jacobians):
    rows = np.concatenate([g.reshape(len(g), -1) for g in jacobians.values()], axis=1)
    return rows @ rows.T


def entropies(blocks):
    values = []
    for x in blocks:
        p = np.linalg.eigvalsh(np.cov(by_position(x).T, bias=True))
        p = p / p.sum()
        values.append(-np.sum(p * np.log(p + 1e-8)))
    return np.array(values)


def trainability(signs, pulled):
    scores = []
    for out, back in zip(signs, pulled, strict=True):
        n, _, height, width = out.shape
        back = back.reshape(n, -1, height, back.shape[2] // height, width, back.shape[3] // width)
        back = back.transpose(0, 2, 4, 1, 3, 5).reshape(n * height * width, -1)
        s = np.linalg.svd(back.T @ by_position(out) / len(back), compute_uv=False)[0]
        scores.append(2 - s - 1 / (s + 1e-6))
    return np.mean(scores)


def unstacked(relus):
    """Return [N H W live] of inputs [..., N H W C] and a mask of their existing channels."""
    for x, used in relus:
        used = np.broadcast_to(used, x.shape[:-4] + x.shape[-1:]).reshape(-1, x.shape[-1])
        yield from (one[..., live] for one, live in zip(x.reshape(-1, *x.shape[-4:]), used, strict=True))


def second_definitions(seen):
    """Return all proxies except linear_regions, each computed from its definition."""
    t = kernel(seen["jacobians"])
    eigenvalues, entropy = np.linalg.eigvalsh(t), entropies(seen["blocks"])
    return {
        "meco": meco(seen["relus"]),
        "near": near(seen["relus"]),
        "naswot": naswot(seen["relus"]),
        "swap": num_patterns([x[:16] for x in seen["relus"]], axis=1),
        "zico": zico(seen["halves"]),
        "grad_sign": sum(np.abs(np.sign(g).sum(0)).sum() for g in seen["images"].values()),
        "ntk_condition": eigenvalues[-1] / eigenvalues[0],
        "ntk_trace": np.sqrt(np.diag(t).mean()),
        "logsynflow": sum(np.sum(w * np.log(g + 1)) for w, g in seen["flow"].values()),
        "az_expressivity": entropy.sum(),
        "az_progressivity": np.diff(entropy).min(),
        "az_trainability": trainability(seen["signs"], seen["pulled"]),
    }


@pytest.mark.slow
@pytest.mark.parametrize("arch", [MIXED, TWO_PATHS])
def test_equal_to_second_definitions(found, observed, arch):
    expected = second_definitions(observed(arch))
    assert expected.keys() == set(WITH_ORACLE) - {"linear_regions"}
    for name, value in expected.items():
        np.testing.assert_allclose(found(arch)[name], value, rtol=1e-9, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("arch", [MIXED, TWO_PATHS])
def test_signs_are_pulled_back_through_one_block_each(found, observed, arch):
    pairs, pulled = found(arch)["block_jacobians"], observed(arch)["pulled"]
    assert len(pairs) == 5  # the stem has no block before it
    for (signs, ours), expected in zip(pairs, pulled, strict=True):
        assert set(np.unique(signs)) == {-1, 1}
        np.testing.assert_allclose(to_nchw(ours), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("arch", [MIXED, IDENTITY, DISCONNECTED, ALL_NONE])
def test_linear_regions_are_distinct_patterns_of_the_thin_network(found, arch):
    relus = list(unstacked(found(arch)["thin_relus"]))
    assert len(relus[0]) == 1000
    assert found(arch)["linear_regions"] == num_patterns(relus, axis=0)


# Scores that are not finite, and kernels that do not count.

OF_ZEROS = dict.fromkeys(("az_expressivity", "az_progressivity", "ntk_condition"), np.nan)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arch", "expected"),
    [
        (ALL_NONE, OF_ZEROS | {"naswot": -np.inf}),
        (DISCONNECTED, OF_ZEROS),  # its convolutions, whose ReLUs see the image, reach no output
        (IDENTITY, {"az_trainability": -np.inf}),
        (MIXED, {}),
    ],
)
def test_degenerate_cells(found, arch, expected):
    assert_finite_but_for({name: found(arch)[name] for name in WITH_ORACLE}, expected)


def assert_finite_but_for(scores, expected):
    for name, score in scores.items():
        if name in expected:
            np.testing.assert_equal(float(score), expected[name], err_msg=name)
        else:
            assert np.isfinite(score), name


@pytest.mark.slow
def test_weights_that_are_not_used_do_not_matter(score_13, case, found):
    changed = change_unused(golden.NETWORKS["small"], case[0], MIXED)
    scores = score_13(changed, MIXED, case[1])
    for name in WITH_ORACLE:
        np.testing.assert_allclose(scores[name], found(MIXED)[name], rtol=1e-12, err_msg=name)


def change_unused(network, params, arch):
    def change(leaf, used):
        return np.where(np.reshape(used, used.shape + (1,) * (leaf.ndim - used.ndim)), leaf, 7.0)

    return jax.tree.map(change, params, network.in_use(params, np.array(arch, np.int8)))


# All proxies in the smallest network.

# Without a last convolution that passes its bias on: there zico and ntk_condition divide by rounding noise.
TINY_ARCHS = tuple(arch for arch in itertools.product((NONE, SKIP, CONV), repeat=2) if arch != (NONE, CONV))
CONVS = (CONV, CONV)
MEAN, WIDTH = 0.1, 0.01  # mean and width of regularised_swap


@pytest.fixture(scope="module")
def tiny(draw_params):
    """Return params and batch."""
    batch = draw_batch(6, 2, 3)
    return draw_params(TinyNetwork(), batch.images), batch


@pytest.fixture(scope="module")
def score_all():
    """Return all of PROXIES and one more in float64."""
    proxies = PROXIES | {"regularised_swap": regularised_swap(MEAN, WIDTH)}
    return compile_proxies(TinyNetwork(), np.float64, proxies)


@pytest.fixture(scope="module")
def scores(score_all, tiny):
    """Return scores(arch) of the case `tiny`."""
    return functools.cache(lambda arch: score_all(tiny[0], arch, tiny[1]))


def not_finite(arch):
    """Check what docstrings state. The network is a stem, two ops (each a block), a ReLU and a linear layer."""
    expected = {"az_trainability": -np.inf} if SKIP in arch else {}
    if NONE in arch:  # the logits are the bias
        expected |= OF_ZEROS | {"jacob_cov": np.nan, "epe_nas": np.nan, "zen": -np.inf}
        if arch[0] != CONV:  # its ReLU sees the stem
            expected |= dict.fromkeys(("nwot", "naswot"), -np.inf)
    return expected


@pytest.mark.parametrize("arch", TINY_ARCHS)
def test_all_are_finite_or_what_their_docstrings_say(scores, arch):
    assert_finite_but_for({name: scores(arch)[name] for name in PROXIES}, not_finite(arch))


@pytest.mark.parametrize("arch", [(SKIP, CONV), (NONE, SKIP)])
def test_of_no_proxy_do_unused_weights_matter(score_all, scores, tiny, arch):
    changed = score_all(change_unused(TinyNetwork(), tiny[0], arch), arch, tiny[1])
    for name in PROXIES:
        np.testing.assert_allclose(changed[name], scores(arch)[name], rtol=1e-12, err_msg=name)


NOT_OF_FLOAT32 = {
    "grad_sign": "signs of gradients that are 0 in theory, as those of a channel that is above 0 at all pixels",
    "linear_regions": "images and kernels are drawn in the precision of the minibatch",
}


@pytest.mark.slow
def test_float32_agrees_with_float64(scores, tiny):
    score = compile_proxies(TinyNetwork(), np.float32, PROXIES)
    for arch in TINY_ARCHS:
        for name, value in score(tiny[0], arch, tiny[1]).items():
            expected = scores(arch)[name]
            if name in NOT_OF_FLOAT32:
                assert np.isfinite(value), name
                continue
            rtol = max(1e-2, 1e-7 * expected) if name == "ntk_condition" else 1e-2  # as its docstring says
            np.testing.assert_allclose(value, expected, rtol=rtol, err_msg=f"{name} of {arch}")


# Symmetries and bounds.


def reordered(batch, order):
    return Batch(batch.images[order], batch.labels[order])


def test_zico_is_symmetric_in_the_halves(score_all, scores, tiny):
    order = np.r_[16:32, :16, 32]
    exchanged = score_all(tiny[0], CONVS, reordered(tiny[1], order))
    np.testing.assert_allclose(exchanged["zico"], scores(CONVS)["zico"], rtol=1e-12)


def test_grad_sign_does_not_depend_on_the_order_of_its_16_images(score_all, scores, tiny):
    order = np.r_[15:-1:-1, 16:33]
    assert score_all(tiny[0], CONVS, reordered(tiny[1], order))["grad_sign"] == scores(CONVS)["grad_sign"]


@pytest.mark.parametrize("arch", TINY_ARCHS)
def test_bounds(scores, arch):
    weights = 3 * 3 * 2 * 4 + arch.count(CONV) * 4 * 4 + 4 * 3
    assert 0 <= scores(arch)["grad_sign"] <= 16 * weights
    assert not scores(arch)["ntk_condition"] < 1
    assert 1 <= scores(arch)["swap"] <= 6 * 6 * 4 * (1 + arch.count(CONV))
    assert 1 <= scores(arch)["linear_regions"] <= 1000
    assert scores(arch)["az_trainability"] <= 0


@pytest.mark.parametrize("arch", TINY_ARCHS)
def test_regularised_swap_is_swap_times_its_factor(scores, arch):
    thousands = 1e3 * scores(arch)["params"]
    expected = scores(arch)["swap"] * np.exp(-((thousands - MEAN) ** 2) / WIDTH)
    np.testing.assert_allclose(scores(arch)["regularised_swap"], expected, rtol=1e-12)


def test_swap_counts_a_pattern_once():
    x = np.random.default_rng(0).normal(size=(5, 2, 4, 3)).astype(np.float32)
    seen, unused = (x, jnp.array([True])), (x + 1, jnp.array([False]))

    def count(*relus):
        return swap(SimpleNamespace(relus=relus, batch=Batch(x, None)))

    assert count(seen) == count(seen, seen) == count(unused, seen) == num_patterns([x], axis=1)


# The metadata of `about`.


class Recorder:
    """Record which attributes of an object, its minibatch and its network are read."""

    def __init__(self, of, read):
        self.of, self.read = of, read

    def __getattr__(self, name):
        self.read.add(name)
        value = getattr(self.of, name)
        return Recorder(value, self.read) if name in ("batch", "network") else value


@pytest.mark.parametrize("name", PROXIES)
def test_needs_are_what_a_proxy_reads(tiny, name):
    read = set()
    params, images = jax.tree.map(np.float32, (tiny[0], tiny[1].images))

    def score(params):
        q = Quantities(TinyNetwork(), params, np.array(CONVS, np.int8), Batch(images, tiny[1].labels))
        return PROXIES[name](Recorder(q, read))

    jax.eval_shape(score, params)
    assert read & PASSES.keys() == set(about(name).needs)


def test_sees_is_what_a_score_depends_on(score_all, scores, tiny):
    params, batch = tiny
    images = score_all(params, CONVS, batch._replace(images=batch.images * np.array([1, 0])))  # one channel of two
    labels = score_all(params, CONVS, batch._replace(labels=batch.labels[::-1]))
    for name in PROXIES:
        sees, score = about(name).sees, scores(CONVS)[name]
        assert (images[name] != score) == (sees != "nothing"), name
        assert (labels[name] != score) == (sees == "labels"), name


def test_what_depends_on_no_params(score_all, scores, tiny):
    other = score_all(jax.tree.map(lambda leaf: 1 - 2 * leaf, tiny[0]), CONVS, tiny[1])
    draw_kernels = {"zen", "vkdnw", "linear_regions", "az_expressivity", "az_progressivity", "az_trainability"}
    assert {name for name in PROXIES if other[name] == scores(CONVS)[name]} == EXACT | draw_kernels


def test_names_and_sources():
    assert PROXIES.keys() >= LOWER_IS_BETTER | EXACT
    assert {name for name in PROXIES if not about(name).higher_is_better} == LOWER_IS_BETTER
    for name in PROXIES:
        assert re.search(r"\b(19|20)\d\d\b", about(name).source), name
