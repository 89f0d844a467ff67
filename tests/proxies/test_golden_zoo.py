"""The other proxies of NAS-Bench-Suite-Zero and variants of synflow against the public code in float64."""

import functools

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas.proxies import PROXIES, PROXY_SETS, Quantities
from jaxnas.proxies.draws import Noise
from jaxnas.spaces import NASBENCH201

pytestmark = pytest.mark.data

COLUMNS = {  # our name: section and column of the reference
    "epe_nas": ("naslib_fp64", "epe_nas"),
    "l2_norm": ("samsung_fp64", "l2_norm_active_only"),
    "nwot": ("naslib_fp64", "nwot"),
    "plain": ("naslib_fp64", "plain"),
    "synflow_no_bn": ("naslib_fp64", "synflow"),
    "synflow_bn": ("naslib_fp64", "synflow_bn"),
    "flops": ("naslib", "flops"),
    "params": ("naslib", "params"),
}
OF_ROUNDING_NOISE = ("plain", "synflow_bn")  # for small/w0 a06, whose convolutions are fed with zeros
DEGENERATE = {"a00": ("nwot",), "a05": (), "a06": ()}  # the output does not depend on the image


def reference(folder, name, id, proxy):
    section, column = COLUMNS[proxy]
    value = golden.load_values(folder)[name][id][section][column]
    return np.nan if value is None else float(value)


def check(folder, name, ids, proxies=COLUMNS):
    config = name.split("/")[0]
    score = golden.compile_proxies(golden.NETWORKS[config], np.float64, {name: PROXIES[name] for name in proxies})
    params, batch = golden.load_params(folder, name), golden.load_batch(folder, config)
    strings = golden.load_values(folder)["archs"]
    for id in ids:
        scores, _ = score(params, NASBENCH201.parse(strings[id]), batch)
        for proxy, value in scores.items():
            if (name, id) == ("small/w0", "a06") and proxy in OF_ROUNDING_NOISE:
                assert abs(value) < 1e-20
                continue
            expected = reference(folder, name, id, proxy)
            rtol = 1e-12 if proxy in ("flops", "params", "nwot", "l2_norm") else 1e-9
            np.testing.assert_allclose(value, expected, rtol=rtol, atol=1e-18, err_msg=f"{proxy} of {name}/{id}")
            if not np.isfinite(expected):
                assert id in DEGENERATE


@pytest.mark.parametrize("name", [pytest.param("small/w0", marks=pytest.mark.slow), "small/w1"])
def test_all_architectures(golden_folder, name):
    ids = golden.load_values(golden_folder)[name]
    assert len(ids) == 26
    check(golden_folder, name, ids)


@pytest.mark.slow
def test_sizes_at_full_size(golden_folder):
    check(golden_folder, "full/w0", ["a01", "a02", "a07", "a12"], ("flops", "params", "l2_norm"))


@pytest.mark.slow
def test_all_at_full_size(golden_folder):
    check(golden_folder, "full/w0", ["a01", "a02", "a07", "a12"])


def test_the_thirteen_are_all_compared():
    six = set(golden.SIX)
    assert set(PROXY_SETS["nbsz"]) <= six | set(COLUMNS) | {"zen"}
    assert len(PROXY_SETS["nbsz"]) == 13


def given_noise(folder):
    """Return `Quantities` with the params and images that the public code used instead of random draws."""
    params = golden.load_params(folder, "small/zen_weights")
    with np.load(folder / "small_inputs.npz") as inputs:
        images = [inputs[name].transpose(0, 2, 3, 1) for name in ("zen_input", "zen_input2")]

    class Given(Quantities):
        @functools.cached_property
        def noise(self):
            return jax.tree.map(lambda leaf: jnp.asarray(leaf, self.batch.images.dtype), Noise(params, *images))

    return Given


@pytest.mark.slow
def test_zen(golden_folder):
    score = golden.compile_proxies(
        golden.NETWORKS["small"], np.float64, {"zen": PROXIES["zen"]}, given_noise(golden_folder)
    )
    batch, values = golden.load_batch(golden_folder, "small"), golden.load_values(golden_folder)
    params = golden.load_params(golden_folder, "small/w0")
    for id, sections in values["small/w0"].items():
        scores, _ = score(params, NASBENCH201.parse(values["archs"][id]), batch)
        expected = float(sections["naslib_fp64"]["zen"])
        np.testing.assert_allclose(scores["zen"], expected, rtol=1e-10, err_msg=id)
        assert np.isfinite(expected) == (id not in DEGENERATE)


@pytest.mark.slow
def test_naswot_except_for_a_last_relu_in_place(golden_folder):
    """The reference is float32 and uses the output of the last ReLU as its input."""

    class InPlace(Quantities):
        @functools.cached_property
        def relus(self):
            *others, (x, used) = super().relus
            return [*others, (jnp.maximum(x, 0), used)]

    score = golden.compile_proxies(golden.NETWORKS["small"], np.float64, {"naswot": PROXIES["naswot"]}, InPlace)
    batch, values = golden.load_batch(golden_folder, "small"), golden.load_values(golden_folder)
    for name in ("small/w0", "small/w1"):
        params = golden.load_params(golden_folder, name)
        for id, sections in values[name].items():
            scores, _ = score(params, NASBENCH201.parse(values["archs"][id]), batch)
            expected = float(sections["robot"]["naswot_nn.ReLU_only"])
            if id != "a00":  # all images give the same values: -inf
                np.testing.assert_allclose(scores["naswot"], expected, rtol=1e-5, err_msg=f"{name}/{id}")
