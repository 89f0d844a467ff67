"""The contract checks accept every proxy and network of jaxnas, and refuse what breaks a rule, naming the rule."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import TINY, TinyNetwork

from jaxnas.data.batch import Batch
from jaxnas.networks import NETWORKS
from jaxnas.search import METHODS
from jaxnas.spaces import SPACES, enumerate_archs
from jaxnas.testing import check_method, check_network, check_proxy

IMAGES = np.random.default_rng(0).normal(size=(4, 4, 4, 2)).astype(np.float32)

# Enough pixels and channels for normalisation's epsilon to be small; TransNAS-Bench-101 divides by 64.
SMALL = {
    "nasbench201": (8, 2),
    "nasbench101": (8, 7),
    "darts": (32, 4),
    "mobilenet": (32, 1),
    "autoformer-tiny": (8, 1),
    "natsbench-size": (16, 4),
}


def test_every_space_has_a_network():
    assert NETWORKS.keys() == SPACES.keys()


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS])
def test_every_network_passes(name):
    pixels, channels = SMALL.get(name, (64, 2))
    images = np.random.default_rng(0).normal(size=(4, pixels, pixels, 1)).astype(np.float32)
    check_network(NETWORKS[name](num_classes=3, channels=channels, cells_per_stage=1), SPACES[name], images)


def test_tiny_network_passes():
    check_network(TinyNetwork(), TINY, IMAGES)


calls = []


def random(q):
    return jnp.asarray(np.random.default_rng().normal())


def keeps_a_tracer(q):
    calls.append(q.loss)
    return q.loss


def changes_params(q):
    q.params["classifier_bias"] = np.zeros(3)
    return jnp.zeros(())


def only_under_vmap(q):
    @jax.custom_batching.custom_vmap
    def shifted(loss):
        return loss

    @shifted.def_vmap
    def _(size, is_batched, loss):
        return loss - loss.mean(), True

    return shifted(q.loss)


BAD_PROXIES = {
    "a vector": (lambda q: q.logits[0], "not one floating scalar"),
    "an integer": (lambda q: jnp.argmax(q.logits), "not one floating scalar"),
    "a tuple": (lambda q: (q.loss, q.loss), "not one floating scalar"),
    "a branch in Python": (lambda q: q.loss if q.loss > 0 else -q.loss, "needs the values"),
    "a Python float": (lambda q: float(q.loss), "needs the values"),
    "random": (random, "not deterministic"),
    "a tracer kept": (keeps_a_tracer, "not pure"),
    "params changed": (changes_params, "changed params or batch"),
    "a mean over architectures": (only_under_vmap, "under jit and vmap"),
}


@pytest.mark.parametrize("case", BAD_PROXIES)
def test_bad_proxy_is_refused(case):
    proxy, message = BAD_PROXIES[case]
    network, archs = TinyNetwork(), enumerate_archs(TINY)[[0, 4, 8]]
    params = jax.jit(network.init)(jax.random.key(0), IMAGES, archs[0])["params"]
    with pytest.raises(AssertionError, match=message):
        check_proxy(proxy, network, params, archs, Batch(jnp.asarray(IMAGES), jnp.array([0, 1, 2, 0])))


class Changed(TinyNetwork):
    """A TinyNetwork whose variables, logits or masks a test replaces by field."""

    change: str = ""

    def init(self, *args, **kwargs):
        variables = super().init(*args, **kwargs)
        if self.change == "no gates":
            variables = {name: tree for name, tree in variables.items() if name != "gates"}
        if self.change == "gates of all layers":
            variables = {**variables, "gates": {**variables["gates"], "norm_gamma": jnp.ones((4, 4))}}
        if self.change == "classifier declared normalised":
            scales = dict(variables["scales"])
            moved = {"classifier": scales.pop("classifier")}
            variables = {**variables, "scales": scales, "normalised_scales": moved}
        if self.change == "one gate per channel":
            variables = {**variables, "gates": jax.tree.map(lambda g: g[..., :1, :], variables["gates"])}
        return variables

    def apply(self, variables, images, arch, **kwargs):
        if "normalised_scales" in variables:
            variables = {**variables, "scales": variables["scales"] | variables["normalised_scales"]}
        if self.change == "scales ignored":
            variables = {name: tree for name, tree in variables.items() if name != "scales"}
        if self.change == "gates ignored":
            variables = {name: tree for name, tree in variables.items() if name != "gates"}
        if self.change == "architecture ignored":
            arch = jnp.zeros_like(arch) + 1
        if self.change == "architecture in Python":
            arch = jnp.array([int(op) for op in arch])
        if self.change == "not finite":
            variables = {**variables, "params": {**variables["params"], "classifier_bias": jnp.full(3, jnp.nan)}}
        if self.change == "no features" and "mutable" in kwargs:
            kwargs["mutable"] = ["relus"]
        return super().apply(variables, images, arch, **kwargs)

    def in_use(self, params, arch, images=None):
        masks = super().in_use(params, arch, images)
        if self.change == "mask too small":
            return {**masks, "conv": arch == 1}
        if self.change == "mask of another shape":
            return {**masks, "conv": jnp.ones(5, bool)}
        if self.change == "mask missing":
            return {name: mask for name, mask in masks.items() if name != "stem"}
        return masks


BAD_NETWORKS = {
    "no gates": "no collection 'gates'",
    "gates of all layers": "different paths",
    "classifier declared normalised": "depends on its scale",
    "one gate per channel": "gates of .* have shape",
    "scales ignored": "d/dscale",
    "gates ignored": "d/dgate",
    "architecture ignored": "ignores the architecture",
    "architecture in Python": "needs the values",
    "not finite": "not finite",
    "no features": "not relus and features",
    "mask too small": "its gradient is not zero",
    "mask of another shape": "not leading axes",
    "mask missing": "must have the tree of params",
}


LONG = {"architecture ignored", "classifier declared normalised", "gates ignored", "mask missing", "not finite"}


@pytest.mark.parametrize(
    "change", [pytest.param(change, marks=[pytest.mark.slow] * (change in LONG)) for change in BAD_NETWORKS]
)
def test_bad_network_is_refused(change):
    with pytest.raises(AssertionError, match=BAD_NETWORKS[change]):
        check_network(Changed(change=change), TINY, IMAGES)


QUICK_TO_COMPILE = ("random", "local_search")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK_TO_COMPILE else pytest.mark.slow)
        for name, method in METHODS.items()
        if not method.multi_fidelity
    ],
)
def test_every_method_passes(name):
    check_method(METHODS[name])


def test_a_method_that_does_not_draw_from_its_key():
    random_search = METHODS["random"]

    def ask(state, history, pool, key, config):
        seed = int(np.random.default_rng().integers(2**31))
        return random_search.ask(state, history, pool, jax.random.key(seed), config)

    with pytest.raises(AssertionError, match=r"draw from the key alone|are not pure"):
        check_method(replace(random_search, ask=ask))
