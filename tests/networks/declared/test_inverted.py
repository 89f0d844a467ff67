"""Inverted residual blocks against plain PyTorch: outputs, proxies, counts, and what is not defined for them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas.errors import InputError
from jaxnas.networks import num_params
from jaxnas.networks.declared.inverted import squeezed_channels
from jaxnas.networks.declared.network import (
    Activation,
    Attention,
    Choose,
    Conv,
    DeclaredNetwork,
    Dense,
    Depthwise,
    GlobalAverage,
    InvertedResidual,
    PatchEmbed,
    Repeat,
    Residual,
    Skip,
    choice,
)
from jaxnas.networks.declared.record import block_from_record, block_record
from jaxnas.networks.params import init_variables
from jaxnas.proxies import PROXIES, Batch, Quantities
from jaxnas.testing import check_network, check_space

CHOSEN = InvertedResidual(expansion=choice(2, 3), size=choice(3, 5), squeeze=True, activation="hardswish")
OPS = Choose(InvertedResidual(expansion=2, activation="silu"), Depthwise(activation="gelu"), Skip())
BLOCKS = (
    Conv(choice(4, 6), stride=2, activation=None),
    Activation("hardswish"),
    CHOSEN,
    OPS,
    InvertedResidual(8, stride=2, expansion=1.5, activation="relu6"),
    Conv(8, groups=2, activation=None),
    Activation("relu"),
    GlobalAverage(),
    Dense(10, activation=None),
)
NETWORK = DeclaredNetwork("mobile", BLOCKS, num_classes=3, activation="hardswish")
ARCH = "4:k3:e3:ir_k3_e2_silu"
ARCHS = {  # by text: the arguments of the reference
    ARCH: {},
    "6:k5:e2:skip": {"stem": 6, "size": 5, "expansion": 2, "op": "skip"},
    "6:k3:e3:depthwise3_gelu": {"stem": 6, "expansion": 3, "op": "depthwise3_gelu"},
}
BATCH = Batch(np.random.default_rng(0).normal(size=(6, 8, 8, 3)), np.array([0, 1, 2, 0, 1, 2]))
NAMES = ("grad_norm", "snip", "grasp", "fisher", "plain", "jacob_cov", "synflow", "l2_norm", "flops", "params", "meco")


@pytest.fixture(scope="module")
def params():
    with jax.enable_x64(True):
        return init_variables(NETWORK, BATCH.images.shape[1:], len(NETWORK.space.num_choices), 0)["params"]


@pytest.fixture(scope="module")
def score(params):
    """Return params of an architecture, and its scores by the one program."""

    def program(params, arch):
        q = Quantities(NETWORK, params, arch, BATCH)
        return {name: PROXIES[name](q) for name in NAMES} | {"logits": q.logits}

    compiled = jax.jit(program)

    def run(text):
        with jax.enable_x64(True):
            arch = jnp.asarray(NETWORK.space.parse(text))
            return NETWORK.params_for(params, arch), compiled(params, arch)

    return run


class Reference:
    """The network of one architecture in PyTorch, by a list of calls; it shares no code with ours."""

    def __init__(self, torch, own, linear=False):
        """`linear` is the network of synaptic flow: no normalisation, activations and gates as for large inputs."""
        self.torch, self.linear = torch, linear
        self.own = {path: torch.tensor(np.asarray(leaf)) for path, leaf in own.items()}
        self.kernels, self.outputs, self.sizes = {}, {}, []

    def weight(self, name, *shape):
        """The first rows, columns, inputs and outputs of a kernel, or the first numbers of a bias."""
        whole = self.own[name]
        if whole.ndim == 4 and len(shape) == 4:
            cut = whole[: shape[2], : shape[3], : shape[1], : shape[0]].permute(3, 2, 0, 1)
        else:
            cut = whole[tuple(slice(size) for size in shape)]
        cut = cut.contiguous().abs() if self.linear else cut.contiguous().clone()
        assert tuple(cut.shape) == shape
        cut.requires_grad_(True)
        if "_bias" not in name:
            self.kernels[name] = cut
        self.sizes.append(cut.numel())
        return cut

    def conv(self, x, name, outputs, size=1, stride=1, groups=1, bias=False, norm=True):
        functional = self.torch.nn.functional
        weight = self.weight(name, outputs, x.shape[1] // groups, size, size)
        given = self.weight(f"{name}_bias", outputs) if bias else None
        out = functional.conv2d(x, weight, given, stride=stride, padding=size // 2, groups=groups)
        self.outputs[name] = out
        self.sizes.append(2 * outputs if norm else 0)
        return out if self.linear or not norm else functional.batch_norm(out, None, None, training=True, eps=1e-5)

    def act(self, x, kind):
        if self.linear:
            return x
        return x * self.gate(x) if kind == "hardswish" else getattr(self.torch.nn.functional, kind)(x)

    def gate(self, x):
        """A hard sigmoid; that of PyTorch has one derivative alone."""
        return self.torch.nn.functional.relu6(x + 3) / 6

    def inverted(self, x, name, width, hidden, size=3, stride=1, squeezed=0, kind="relu", adds=True):
        out = self.act(self.conv(x, f"{name}_expand", hidden), kind)
        out = self.act(self.conv(out, f"{name}_depthwise", hidden, size, stride, groups=hidden), kind)
        if squeezed:
            pooled = out.mean((2, 3), keepdim=True)
            gate = self.act(self.conv(pooled, f"{name}_squeeze", squeezed, bias=True, norm=False), "relu")
            gate = self.conv(gate, f"{name}_excite", hidden, bias=True, norm=False)
            out = out if self.linear else out * self.gate(gate)
        out = self.conv(out, f"{name}_project", width)
        return out + x if adds else out

    def logits(self, images, stem=4, size=3, expansion=3, op="ir_k3_e2_silu"):
        x = self.act(self.conv(images, "block1", stem, 3, 2), "hardswish")
        x = self.inverted(x, "block3", stem, expansion * stem, size, squeezed=8, kind="hardswish")
        if op == "ir_k3_e2_silu":
            x = self.inverted(x, "block4_1_ir_k3_e2_silu", stem, 2 * stem, kind="silu")
        elif op == "depthwise3_gelu":
            x = self.conv(self.act(x, "gelu"), "block4_2_depthwise3_gelu", stem, 3, groups=stem)
        x = self.inverted(x, "block5", 8, round(1.5 * stem), stride=2, kind="relu6", adds=False)
        x = self.act(self.conv(x, "block6", 8, 3, groups=2), "relu").mean((2, 3))
        for name, width, kind in (("block9", 10, "hardswish"), ("classifier", 3, None)):
            weight, bias = self.weight(name, x.shape[1], width), self.weight(f"{name}_bias", width)
            x = self.outputs[name] = x @ weight + bias
            x = x if kind is None else self.act(x, kind)
        return x


def proxies_of(torch, own, **arch):
    """The scores from their definitions, by automatic differentiation of the reference."""
    reference = Reference(torch, own)
    images = torch.tensor(BATCH.images.transpose(0, 3, 1, 2)).requires_grad_(True)
    logits = reference.logits(images, **arch)
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(BATCH.labels))
    weights, outputs = list(reference.kernels.values()), list(reference.outputs.values())
    gradient = torch.autograd.grad(loss, weights, create_graph=True)
    of_outputs = torch.autograd.grad(loss, outputs, retain_graph=True)
    along = torch.autograd.grad(sum((g * g.detach()).sum() for g in gradient), weights, retain_graph=True)
    rows = torch.autograd.grad(logits.sum(), images)[0].reshape(len(images), -1).numpy()
    eigenvalues = np.linalg.eigvalsh(np.corrcoef(rows)) + 1e-5
    fisher = 0.0
    for name, (a, g) in zip(reference.outputs, zip(outputs, of_outputs, strict=True), strict=True):
        per_channel = (a * g).reshape(*a.shape[:2], -1).sum(2)
        kernel = reference.kernels[name]
        fan_in = kernel[0].numel() if kernel.ndim == 4 else len(kernel)
        fisher += 0.5 * fan_in * (per_channel**2).mean(0).sum()
    flow = Reference(torch, own, linear=True)
    total = flow.logits(torch.ones(1, 3, 8, 8, dtype=torch.float64), **arch).sum()
    of_flow = torch.autograd.grad(total, list(flow.kernels.values()), allow_unused=True)
    found = {
        "grad_norm": sum(g.norm() for g in gradient),
        "snip": sum((w * g).abs().sum() for w, g in zip(weights, gradient, strict=True)),
        "grasp": -sum((w * h).sum() for w, h in zip(weights, along, strict=True)),
        "fisher": fisher,
        "plain": sum((w * g).sum() for w, g in zip(weights, gradient, strict=True)),
        "jacob_cov": -np.sum(np.log(eigenvalues) + 1 / eigenvalues),
        "synflow": sum((w * g).sum() for w, g in zip(flow.kernels.values(), of_flow, strict=True) if g is not None),
        "l2_norm": sum(w.norm() for w in weights),
        "params": sum(reference.sizes) / 1e6,
        "logits": logits,
    }
    return {name: value.detach().numpy() if hasattr(value, "detach") else value for name, value in found.items()}


def test_outputs_are_those_of_pytorch(torch, params):
    with jax.enable_x64(True):
        apply = jax.jit(lambda own, arch: NETWORK.apply({"params": own}, BATCH.images, arch))
        for text, chosen in ARCHS.items():
            arch = jnp.asarray(NETWORK.space.parse(text))
            own = NETWORK.params_for(params, arch)
            expected = Reference(torch, own).logits(torch.tensor(BATCH.images.transpose(0, 3, 1, 2)), **chosen)
            np.testing.assert_allclose(apply(own, arch), expected.detach().numpy(), rtol=1e-9, atol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("text", ARCHS)
def test_proxies_are_those_of_pytorch(torch, params, score, text):
    own, found = score(text)
    for name, expected in proxies_of(torch, own, **ARCHS[text]).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-9, atol=1e-11, err_msg=name)
    size = num_params(NETWORK, params, NETWORK.space.parse(text), BATCH.images[:1])
    assert int(size) == round(float(found["params"]) * 1e6)


@pytest.mark.slow
def test_operations_by_hand(score):
    """Multiply-adds, 2 for each normalised number, 1 for each activation, windows of means one pixel larger."""
    total, pixels, few = 0.0, 16, 4  # after the stem; after the block that halves
    total += pixels * (27 * 4 + 2 * 4 + 4)
    total += pixels * (4 * 12 + 12 * 9 + 12 * 4 + 2 * (12 + 12 + 4) + 2 * 12) + 5 * 5 * 12  # block 3
    total += 12 * 8 + 8 + 8 * 12 + 12 + 8 + 12  # its gate, on one pixel
    total += pixels * (4 * 8 + 8 * 9 + 8 * 4 + 2 * (8 + 8 + 4) + 2 * 8)  # block 4
    total += pixels * (4 * 6 + 2 * 6 + 6) + few * (9 * 6 + 2 * 6 + 6 + 6 * 8 + 2 * 8)  # block 5
    total += few * (9 * 4 * 8 + 2 * 8 + 8) + 3 * 3 * 8  # groups of 4 inputs, and the mean
    total += 8 * 10 + 10 + 2 * 2 * 10 + 10 * 3
    assert float(score(ARCH)[1]["flops"]) == pytest.approx(total / 1e6, rel=1e-12)


@pytest.mark.parametrize(
    ("chosen", "fixed"),
    [
        (
            (Conv(4), InvertedResidual(expansion=choice(2, 3), squeeze=True)),
            (Conv(4), InvertedResidual(expansion=3, squeeze=True)),
        ),
        (
            (PatchEmbed(8, size=4), Residual(Attention(choice(1, 2), head_width=4))),
            (PatchEmbed(8, size=4), Residual(Attention(2, head_width=4))),
        ),
    ],
    ids=["gate", "attention"],
)
def test_what_is_fixed_has_the_flops_of_the_same_choice(chosen, fixed):
    def flops(blocks, arch):
        network = DeclaredNetwork("one", (*blocks, Conv(choice(4, 8))), num_classes=3)
        params = init_variables(network, BATCH.images.shape[1:], len(arch), 0)["params"]
        program = jax.jit(lambda params, arch: PROXIES["flops"](Quantities(network, params, arch, BATCH)))
        return float(program(params, jnp.array(arch, jnp.int8)))

    assert flops(fixed, (0,)) == flops(chosen, (1, 0))


def test_the_space_and_its_record():
    assert NETWORK.space.num_choices == (2, 2, 2, 3)
    assert NETWORK.space.format(NETWORK.space.parse(ARCH)) == ARCH
    check_space(NETWORK.space)
    assert tuple(block_from_record(block_record(block)) for block in BLOCKS) == BLOCKS


def test_choices_of_one_name_are_one_decision():
    size = choice(3, 5, name="size")
    layer = InvertedResidual(expansion=choice(2, 3), size=size)
    network = DeclaredNetwork("tied", (Conv(4), layer, Repeat(choice(1, 2), layer)), num_classes=3)
    assert network.space.num_choices == (2, 2, 2, 2, 2)
    assert network.space.format(np.array([1, 0, 0, 1, 0], np.int8)) == "k5:e2:1:e3:e2"
    arch = jnp.asarray(network.space.parse("k3:e2:2:e3:e2"))
    params = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((2, 8, 8, 3)), arch)["params"]
    used = network.in_use(params, arch)
    for path in ("block2_depthwise", "block3_1_1_depthwise", "block3_2_1_depthwise"):
        assert used[path].any((2, 3)).tolist() == [[True] * 3 + [False] * 2] * 3 + [[False] * 5] * 2
    edge = Choose(Conv(), Skip(), name="edge")
    assert DeclaredNetwork("ops", (Conv(4), edge, edge), num_classes=3).space.num_choices == (2,)
    with pytest.raises(InputError, match=r"named 'size' must have equal options, got \('k3', 'k5'\) and \(3, 5\)"):
        DeclaredNetwork("bad", (layer, Conv(size)), num_classes=3).space  # noqa: B018


@pytest.mark.parametrize(("hidden", "squeezed"), [(4, 8), (16, 8), (72, 24), (120, 32), (672, 168), (52, 16)])
def test_squeezed_channels_are_multiples_of_eight(hidden, squeezed):
    """Those of MobileNetV3-Large, and numbers whose quarter is far from a multiple."""
    assert squeezed_channels(hidden) == squeezed
    assert int(squeezed_channels(jnp.asarray(hidden))) == squeezed


def test_proxies_that_are_not_defined_say_so():
    arch, batch = jnp.zeros(4, jnp.int8), Batch(BATCH.images.astype(np.float32), BATCH.labels)
    shapes = jax.eval_shape(NETWORK.init, jax.random.key(0), BATCH.images, arch)["params"]
    small = DeclaredNetwork("six", (Conv(choice(4, 6)), InvertedResidual(activation="relu6")), num_classes=3)
    of_small = jax.eval_shape(small.init, jax.random.key(0), BATCH.images, arch[:1])["params"]

    def trace(name, network, params, arch):
        return jax.eval_shape(lambda params: PROXIES[name](Quantities(network, params, arch, batch)), params)

    for name in ("nwot", "naswot", "swap"):
        with pytest.raises(InputError, match=r"must be left out: .* relu or relu6, got hardswish, gelu, silu"):
            trace(name, NETWORK, shapes, arch)
        assert trace(name, small, of_small, arch[:1]).shape == ()
    with pytest.raises(InputError, match=r"linear_regions must be left out: .* relu, got relu6"):
        trace("linear_regions", small, of_small, arch[:1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InvertedResidual(expansion=0), "`expansion` of InvertedResidual must be above 0, got 0"),
        (lambda: InvertedResidual(size=4), "give an odd size"),
        (lambda: InvertedResidual(squeeze=choice(0, 2)), "must be True, False or choice.0, 1., got Choice"),
        (lambda: InvertedResidual(squeezed=4), "`squeezed` of .* needs `squeeze`, got 4 with squeeze=False"),
        (lambda: InvertedResidual(squeeze=True, squeezed=0), "must be at least 1"),
        (lambda: InvertedResidual(activation="mish"), "unknown activation 'mish'"),
        (lambda: DeclaredNetwork("a", (Conv(4),), activation="tanh"), "unknown activation 'tanh'"),
        (lambda: Choose(CHOSEN), "Choose takes ops .* without choices"),
        (lambda: Choose(Conv(8), Conv(16)), "'conv3' names two ops of Choose, .* which Conv.choice.8, 16.. chooses"),
        (lambda: Conv(choice(4, 8), groups=2), "2 groups and width .* a fixed width"),
        (lambda: draw((Conv(choice(4, 8)), Conv(4, groups=2))), "conv3_g2 takes fixed widths"),
        (lambda: draw((Conv(choice(4)), Conv(5, groups=2))), "groups must divide both"),
        (
            lambda: draw((Conv(4), Choose(InvertedResidual(4, stride=2), Skip()))),
            r"of one shape, got ir_k3_e6 \(4, 4, 4\), skip \(8, 8, 4\): .* no Skip or Pool where",
        ),
    ],
)
def test_what_cannot_be_declared_is_named(make, message):
    with pytest.raises(InputError, match=message):
        make()


def draw(blocks):
    network = DeclaredNetwork("any", blocks, num_classes=3)
    arch = jnp.zeros(len(network.space.num_choices), jnp.int8)
    return jax.eval_shape(network.init, jax.random.key(0), BATCH.images, arch)


@pytest.mark.slow
def test_contract():
    check_network(NETWORK, NETWORK.space, BATCH.images.astype(np.float32))


GATED = InvertedResidual(None, choice(1, 3), squeeze=choice(0, 1), squeezed=2)
GATED_BLOCKS = (Conv(4), GATED, InvertedResidual(6, choice(1, 2), stride=2))
OF_SIZE = ("flops", "params", "num_layers", "l2_norm")
OF_BATCH = ("grad_norm", "snip", "fisher", "grasp", "jacob_cov", "synflow", "nwot")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("e1:se0:e2", ("params",)),
        *(
            pytest.param(f"e{e}:se{gate}:e{last}", (*OF_SIZE, *OF_BATCH), marks=pytest.mark.slow)
            for e, gate, last in itertools.product((1, 3), (0, 1), (1, 2))
        ),
    ],
)
def test_a_chosen_block_is_that_which_is_fixed(text, names):
    """Expansions of 1 have no layer that expands, and gates that are not chosen do not count."""
    expansion, gate, last = (int(part.lstrip("es")) for part in text.split(":"))
    blocks = (
        Conv(4),
        InvertedResidual(None, expansion, squeeze=bool(gate), squeezed=2 if gate else None),
        InvertedResidual(6, last, stride=2),
        Conv(choice(6), size=1),
    )
    chosen, fixed = DeclaredNetwork("one", (*GATED_BLOCKS, blocks[-1]), 3), DeclaredNetwork("one", blocks, 3)
    arch, only = jnp.asarray(chosen.space.parse(f"{text}:6")), jnp.zeros(1, jnp.int8)

    def values(network, params, arch):
        q = Quantities(network, params, arch, BATCH)
        return {"logits": q.logits, **{name: PROXIES[name](q) for name in names}}

    with jax.enable_x64(True):
        params = init_variables(chosen, BATCH.images.shape[1:], len(arch), 0)["params"]
        own, used = chosen.params_for(params, arch), chosen.in_use(params, arch)
        shapes = jax.eval_shape(fixed.init, jax.random.key(0), BATCH.images, only)["params"]
        assert {path for path, mask in used.items() if mask.any()} == {*shapes}
        cut = {path: own[path][tuple(map(slice, leaf.shape))] for path, leaf in shapes.items()}
        found = jax.jit(values, static_argnums=0)(chosen, params, arch)
        expected = jax.jit(values, static_argnums=0)(fixed, cut, only)
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-11, err_msg=name)


def test_gates_of_a_choice_are_read_and_written():
    space = DeclaredNetwork("gated", GATED_BLOCKS, num_classes=3).space
    assert space.num_choices == (2, 2, 2)
    assert space.format(np.array([0, 1, 1], np.int8)) == "e1:se1:e2"
    check_space(space)
    assert block_from_record(block_record(GATED)) == GATED
