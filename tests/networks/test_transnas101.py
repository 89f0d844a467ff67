"""The TransNAS-Bench-101 networks against a plain loop in the NCHW layout, and the published parameter counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxnas.data.tasks import TASKS
from jaxnas.errors import InputError
from jaxnas.networks import NETWORKS, num_params
from jaxnas.networks.heads import HEADS
from jaxnas.spaces import SPACES

FAST = ("class_scene", "jigsaw")
PUBLISHED_CLASSES = {"class_scene": 63, "class_object": 100}  # of the models whose parameters were counted
CELLS = ("64-41414-3_21_103", "64-41414-1_02_310")
UNOPTIMISED = {"xla_backend_optimization_level": 0}  # both are run once or twice
SKELETONS = ("64-4111-basic", "64-123143-basic")


def make(space, head="classification", num_classes=3, channels=4, **fields):
    return NETWORKS[space](num_classes=num_classes, head=head, channels=channels, **fields)


def images_for(head, pixels=64, num=2):
    shape = (num, 9, pixels // 3, pixels // 3, 3) if head == "jigsaw" else (num, pixels, pixels, 3)
    return np.random.default_rng(0).normal(size=shape)


class Plain:
    """The networks' parts by the names of their params, one layer after another."""

    def __init__(self, params):
        self.params = params

    def conv(self, name, x, stride=1, upwards=False, bias=None):
        kernel = jnp.transpose(self.params[name], (3, 2, 0, 1))
        padding = [(kernel.shape[-1] // 2,) * 2] * 2
        if upwards:  # as torch.nn.ConvTranspose2d(3, stride=2, padding=1, output_padding=1)
            kernel = kernel[:, :, ::-1, ::-1]
            out = lax.conv_general_dilated(x, kernel, (1, 1), [(1, 2)] * 2, lhs_dilation=(2, 2))
        else:
            out = lax.conv_general_dilated(x, kernel, (stride, stride), padding)
        return out if bias is None else out + self.params[bias][None, :, None, None]

    def norm(self, name, x):
        mean, variance = jnp.mean(x, (0, 2, 3), keepdims=True), jnp.var(x, (0, 2, 3), keepdims=True)
        gamma, beta = (self.params[f"{name}_{kind}"][None, :, None, None] for kind in ("gamma", "beta"))
        return (x - mean) / jnp.sqrt(variance + 1e-5) * gamma + beta


def relu(x):
    return jnp.maximum(x, 0)


def stem(params, x):
    first, second = (Plain(params["stem"][name]) for name in ("first", "second"))
    x = first.norm("norm", first.conv("conv", x, 2))
    return second.norm("norm", second.conv("conv", relu(x), 2))


def cell(params, ops, x, reduces):
    nodes, entries, inner = [x], iter(range(3)), iter(range(6))
    op = iter(ops)
    for target in (1, 2, 3):
        total = 0.0
        for source in range(target):
            chosen, entry = next(op), reduces and source == 0
            number = next(entries) if entry else next(inner)
            plain = Plain({name.removeprefix("entry_"): leaf[number] for name, leaf in params.items()
                           if name.startswith("entry") == bool(entry)})  # fmt: skip
            total = total + plain_op(plain, chosen, nodes[source], 2 if entry else 1)
        nodes.append(total)
    return nodes[-1]


def plain_op(plain, op, x, stride):
    if op == 0:
        return 0.0
    if op == 1 and stride == 1:
        return x
    if op == 1:
        x = relu(x)
        odd = jnp.pad(x, ((0, 0), (0, 0), (0, 1), (0, 1)))[:, :, 1:, 1:]
        out = jnp.concatenate([plain.conv("skip_even", x, 2), plain.conv("skip_odd", odd, 2)], axis=1)
    else:
        out = plain.conv({2: "conv_1x1", 3: "conv_3x3"}[op], relu(x), stride)
    return plain.norm("norm", out)


def encode_micro(params, arch, x):
    for stage in (1, 2, 3):
        x = cell(params[f"reduction{stage}"], arch, x, True)
        equal = params[f"stage{stage}"]
        for number in range(len(equal["conv_1x1"])):
            x = cell({name: leaf[number] for name, leaf in equal.items()}, arch, x, False)
    return x


def encode_macro(params, arch, x):
    width = 0
    for module, digit in enumerate(arch):
        for position, kind in enumerate((digit, 1)):
            if digit == 0:
                continue
            plain = Plain({name: leaf[2 * module + position] for name, leaf in params["blocks"].items()})
            doubles, stride = kind in (2, 4), 2 if kind in (3, 4) else 1
            before, width, kind_of = width, width + doubles, "_double" if doubles else ""
            out = plain.norm(f"norm_a{width}", plain.conv(f"a{kind_of}{before}", relu(x), stride))
            out = plain.norm(f"norm_b{width}", plain.conv(f"b{width}", relu(out)))
            if kind != 1:
                x = plain.norm(f"norm_shortcut{width}", plain.conv(f"shortcut{kind_of}{before}", x, stride))
            x = x + out
    return x, width


def run_head(params, head, x, num_doublings, first, linear):
    plain = Plain(params["head"])
    if head in ("classification", "jigsaw"):
        x = x.mean((2, 3))
        x = x.reshape(len(x) // 9, -1) if head == "jigsaw" else x
        return x @ params["head"][linear] + params["head"][f"{linear}_bias"][None]
    num_layers, places = (7, (1, 2, 3, 4, 5, 6)) if head == "segmentation" else (13, (2, 4, 6, 8, 10, 12))
    for number in range(num_layers):
        name = first if number == 0 else f"layer{number}"
        x = plain.conv(name, x, upwards=number in places[-num_doublings:], bias=f"{name}_bias")
        x = plain.norm(f"{name}_norm", x)
        x = jnp.where(x > 0, x, 0.2 * x)
    x = plain.conv(f"layer{num_layers}", x, bias=f"layer{num_layers}_bias")
    return jnp.moveaxis(jnp.tanh(x) if head == "image" else x, 1, -1)


def plain_outputs(params, head, arch, images, is_macro):
    x = jnp.moveaxis(images.reshape(-1, *images.shape[-3:]), -1, 1)
    x = stem(params, x)
    if not is_macro:
        return run_head(params, head, encode_micro(params, arch, x), 5, "layer0", "linear")
    x, width = encode_macro(params, arch, x)
    num_doublings = 2 + sum(digit in (3, 4) for digit in arch)
    return run_head(params, head, x, num_doublings, f"first{width}", f"linear{width}")


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("transnas101-micro", "segmentation"),
        *[pytest.param("transnas101-micro", head, marks=pytest.mark.slow) for head in HEADS if head != "segmentation"],
        *[pytest.param("transnas101-macro", head, marks=pytest.mark.slow) for head in HEADS],
    ],
)
def test_equals_the_plain_loop(name, head):
    with jax.enable_x64(True):
        network, images = make(name, head), images_for(head)
        texts = SKELETONS if name.endswith("macro") else CELLS
        shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.asarray(images), jnp.zeros(6, jnp.int8))["params"]
        rng = np.random.default_rng(1)  # gammas and betas too shall differ
        params = jax.tree.map(lambda leaf: 0.3 * rng.normal(size=leaf.shape), shapes)
        apply = jax.jit(network.apply, compiler_options=UNOPTIMISED)
        plain = jax.jit(plain_outputs, static_argnums=(1, 2, 4), compiler_options=UNOPTIMISED)
        for text in texts if head == "classification" else texts[1:]:
            arch = SPACES[name].parse(text)
            expected = plain(params, head, tuple(arch.tolist()), images, name.endswith("macro"))
            np.testing.assert_allclose(apply({"params": params}, images, arch), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "task"),
    [
        *[("transnas101-micro", task) for task in FAST],
        *[pytest.param("transnas101-micro", task, marks=pytest.mark.slow) for task in TASKS if task not in FAST],
        *[pytest.param("transnas101-macro", task, marks=pytest.mark.slow) for task in TASKS],
    ],
)
def test_parameters_equal_the_published(name, task, data_folder):
    """All 4,096 and 3,255 (of the two classifications 3,226) that have a count, as exact as float32 millions are."""
    table = np.load(data_folder / "tnb101" / f"tnb101_{name.split('-')[1]}.npz")
    head, num_classes = TASKS[task]
    network = make(name, head, PUBLISHED_CLASSES.get(task, num_classes), 64)
    images = jnp.zeros(images_for(head).shape)
    params = jax.eval_shape(network.init, jax.random.key(0), images, jnp.zeros(6, jnp.int8))["params"]
    counts = jax.jit(jax.vmap(lambda arch: num_params(network, params, arch)))(table["ops"].astype(np.int8))
    column = table["filled"][table["tasks"].tolist().index(task), :, table["proxy_columns"].tolist().index("params")]
    known = np.isfinite(column)
    assert known.sum() >= 3226
    np.testing.assert_allclose(np.asarray(counts)[known] / 1e6, column[known], atol=5e-6)


@pytest.mark.parametrize(("head", "shape"), [("classification", (2, 9, 8, 8, 3)), ("jigsaw", (2, 8, 8, 3))])
def test_images_that_do_not_fit_the_head_are_refused(head, shape):
    with pytest.raises(InputError, match=f"do not fit head '{head}'"):
        jax.eval_shape(make("transnas101-micro", head).init, jax.random.key(0), jnp.zeros(shape), jnp.zeros(6))
