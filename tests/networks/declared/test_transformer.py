"""Blocks of vision transformers against plain PyTorch: outputs, proxies, counts, and what is not defined for them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas.errors import InputError
from jaxnas.networks.declared.network import (
    Attention,
    Choose,
    ClassToken,
    DeclaredNetwork,
    GlobalAverage,
    LayerNorm,
    Mlp,
    PatchEmbed,
    PatchMean,
    Repeat,
    Residual,
    Skip,
    choice,
)
from jaxnas.networks.declared.record import block_from_record, block_record
from jaxnas.networks.params import init_variables
from jaxnas.proxies import PROXIES, Batch, Quantities
from jaxnas.testing import check_network, check_space

BLOCK = (
    Residual(LayerNorm(), Attention(choice(1, 2), head_width=4, relative=1)),
    Residual(LayerNorm(), Mlp(choice(1.5, 2))),
)
BLOCKS = (PatchEmbed(choice(6, 8), 2), Repeat(choice(1, 2, 3), *BLOCK), LayerNorm(), PatchMean())
NETWORK = DeclaredNetwork("tokens", BLOCKS, num_classes=3, activation=None)
ARCHS = {  # by text: width, then heads and hidden channels of each block
    "8:3:h2:r2:h1:r1.5:h2:r1.5": (8, [(2, 16), (1, 12), (2, 12)]),
    "6:2:h1:r2:h2:r1.5:h2:r2": (6, [(1, 12), (2, 9)]),
    "8:1:h1:r1.5:h2:r2:h2:r2": (8, [(1, 12)]),
}
BATCH = Batch(np.random.default_rng(0).normal(size=(6, 6, 6, 3)), np.array([0, 1, 2, 0, 1, 2]))
NAMES = (
    "grad_norm",
    "snip",
    "grasp",
    "fisher",
    "plain",
    "jacob_cov",
    "synflow",
    "synflow_bn",
    "dss",
    "l2_norm",
    "params",
)
UNDEFINED = {
    "nwot": r"nwot, naswot and swap must be left out: .* got gelu",
    "linear_regions": "linear_regions must be left out: not defined for networks with layer normalisation",
    "zen": "zen must be left out",
    "logsynflow": "logsynflow must be left out",
    "vkdnw": "vkdnw must be left out",
    "az_trainability": "az_expressivity, az_progressivity and az_trainability must be left out",
}


@pytest.fixture(scope="module")
def params():
    """With biases and larger kernels than those at initialisation, of which attention would be nearly uniform."""
    with jax.enable_x64(True):
        drawn = init_variables(NETWORK, BATCH.images.shape[1:], len(NETWORK.space.num_choices), 0)["params"]
        rng = np.random.default_rng(1)
        return {path: jnp.asarray(leaf + 0.3 * rng.normal(size=leaf.shape)) for path, leaf in drawn.items()}


@pytest.fixture(scope="module")
def score(params):
    """Return params of an architecture, and its scores by the one program."""

    def program(params, arch):
        q = Quantities(NETWORK, params, arch, BATCH)
        return {name: PROXIES[name](q) for name in NAMES} | {"logits": q.logits}

    compiled = jax.jit(program, compiler_options={"xla_backend_optimization_level": 0})

    def run(text):
        with jax.enable_x64(True):
            arch = jnp.asarray(NETWORK.space.parse(text))
            return NETWORK.params_for(params, arch), compiled(params, arch)

    return run


class Reference:
    """The network of one architecture in PyTorch; it shares no code with ours."""

    def __init__(self, torch, own, absolute=False):
        self.torch, self.kernels, self.outputs, self.sizes, self.absolute = torch, {}, {}, 0, absolute
        self.own = {path: torch.tensor(np.asarray(leaf)) for path, leaf in own.items()}

    def take(self, name, *shape):
        cut = self.own[name][tuple(slice(size) for size in shape)]
        cut = (cut.abs() if self.absolute else cut).clone().requires_grad_(True)
        self.sizes += cut.numel()
        return cut

    def layer(self, x, name, outputs):
        kernel = self.take(name, 1, 1, x.shape[-1], outputs)
        self.kernels[name] = kernel
        self.outputs[name] = x @ kernel[0, 0] + self.take(f"{name}_bias", outputs)
        return self.outputs[name]

    def norm(self, x, name):
        width = x.shape[-1:]
        gamma, beta = self.take(f"{name}_norm_gamma", *width), self.take(f"{name}_norm_beta", *width)
        return self.torch.nn.functional.layer_norm(x, width, gamma, beta, eps=1e-6)

    def distances(self, name, kind, tokens):
        """Rows of the tables for each pair of tokens: 0 with the class token, else 1 to 4 for distances to 1."""
        side = int((tokens - 1) ** 0.5)
        tables = [self.take(f"{name}_{kind}_{axis}_bias", 4, 4) for axis in ("rows", "columns")]
        found = self.torch.zeros(tokens, tokens, 4, dtype=self.torch.float64)
        rows = []
        for query in range(tokens):
            row = []
            for key in range(tokens):
                at = [0, 0]
                if query and key:
                    (a, b), (c, d) = divmod(query - 1, side), divmod(key - 1, side)
                    at = [2 + max(-1, min(1, c - a)), 2 + max(-1, min(1, d - b))]
                row.append(tables[0][at[0]] + tables[1][at[1]])
            rows.append(self.torch.stack(row))
        return found + self.torch.stack(rows)

    def attention(self, x, name, heads):
        n, tokens, width = x.shape
        qkv = self.layer(x, f"{name}_qkv", 3 * 4 * heads)
        q, k, v = (qkv[..., kind::3].reshape(n, tokens, heads, 4).transpose(1, 2) for kind in range(3))
        logits = q @ k.transpose(2, 3) + (q[..., None, :] * self.distances(name, "key", tokens)).sum(-1)
        weights = (logits / 4**0.5).softmax(-1)
        out = weights @ v + (weights[..., None] * self.distances(name, "value", tokens)).sum(-2)
        return self.layer(out.transpose(1, 2).reshape(n, tokens, -1), f"{name}_project", width)

    def logits(self, images, width, blocks):
        functional = self.torch.nn.functional
        kernel = self.take("block1", 2, 2, 3, width)
        self.kernels["block1"] = kernel
        bias = self.take("block1_bias", width)
        x = functional.conv2d(images, kernel.permute(3, 2, 0, 1), bias, stride=2).flatten(2).transpose(1, 2)
        self.outputs["block1"] = x
        x = x + self.take("block1_position_bias", 3, 3, width).reshape(-1, width)
        first = self.take("block1_class_bias", width) + self.take("block1_class_position_bias", width)
        x = self.torch.cat([first.expand(len(x), 1, width), x], 1)
        for number, (heads, hidden) in enumerate(blocks, start=1):
            name = f"block2_{number}"
            x = x + self.attention(self.norm(x, f"{name}_1_1"), f"{name}_1_2", heads)
            inner = functional.gelu(self.layer(self.norm(x, f"{name}_2_1"), f"{name}_2_2_expand", hidden))
            x = x + self.layer(inner, f"{name}_2_2_project", width)
        x = self.norm(x, "block3")[:, 1:].mean(1)
        kernel = self.kernels["classifier"] = self.take("classifier", width, 3)
        self.outputs["classifier"] = x @ kernel + self.take("classifier_bias", 3)
        return self.outputs["classifier"]


def proxies_of(torch, own, arch):
    """The scores from their definitions, by automatic differentiation of the reference."""
    reference = Reference(torch, own)
    images = torch.tensor(BATCH.images.transpose(0, 3, 1, 2)).requires_grad_(True)
    logits = reference.logits(images, *arch)
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(BATCH.labels))
    weights, outputs = list(reference.kernels.values()), list(reference.outputs.values())
    gradient = torch.autograd.grad(loss, weights, create_graph=True)
    of_outputs = torch.autograd.grad(loss, outputs, retain_graph=True)
    along = torch.autograd.grad(sum((g * g.detach()).sum() for g in gradient), weights, retain_graph=True)
    rows = torch.autograd.grad(logits.sum(), images)[0].reshape(len(images), -1).numpy()
    eigenvalues = np.linalg.eigvalsh(np.corrcoef(rows)) + 1e-5
    fisher = 0.0
    for name, (a, g) in zip(reference.outputs, zip(outputs, of_outputs, strict=True), strict=True):
        per_channel = (a * g).reshape(len(a), -1, a.shape[-1]).sum(1)
        fan_in = reference.kernels[name].numel() / a.shape[-1]
        fisher += 0.5 * fan_in * (per_channel**2).mean(0).sum()
    flow = Reference(torch, own, absolute=True)
    total = flow.logits(torch.ones(1, 3, 6, 6, dtype=torch.float64), *arch).sum()
    of_flow = torch.autograd.grad(total, list(flow.kernels.values()))
    synflow = sum((w * g).abs().sum() for w, g in zip(flow.kernels.values(), of_flow, strict=True))
    dss = 0.0
    for (name, w), g in zip(flow.kernels.items(), of_flow, strict=True):
        if name.endswith(("1_2_qkv", "1_2_project")):
            dss += torch.linalg.matrix_norm(w[0, 0], "nuc") * torch.linalg.matrix_norm(g[0, 0], "nuc")
        elif name != "block1":
            dss += (w * g).abs().sum()
    found = {
        "grad_norm": sum(g.norm() for g in gradient),
        "snip": sum((w * g).abs().sum() for w, g in zip(weights, gradient, strict=True)),
        "grasp": -sum((w * h).sum() for w, h in zip(weights, along, strict=True)),
        "fisher": fisher,
        "plain": sum((w * g).sum() for w, g in zip(weights, gradient, strict=True)),
        "jacob_cov": -np.sum(np.log(eigenvalues) + 1 / eigenvalues),
        "synflow": synflow,
        "synflow_bn": synflow,
        "dss": dss,
        "l2_norm": sum(w.norm() for w in weights),
        "params": reference.sizes / 1e6,
        "logits": logits,
    }
    return {name: value.detach().numpy() if hasattr(value, "detach") else value for name, value in found.items()}


def test_proxies_are_those_of_pytorch(torch, score):
    for text, arch in ARCHS.items():
        own, found = score(text)
        expected = proxies_of(torch, own, arch)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-12, err_msg=f"{name} of {text}")


@pytest.mark.parametrize("name", UNDEFINED)
def test_proxies_that_are_not_defined_say_so(name, params):
    def run(params):
        return PROXIES[name](Quantities(NETWORK, params, jnp.zeros(8, jnp.int8), BATCH))

    with jax.enable_x64(True), pytest.raises(InputError, match=UNDEFINED[name]):
        jax.eval_shape(run, params)


@pytest.mark.parametrize(("width", "heads", "published"), [(192, 3, 5_717_416), (384, 6, 22_050_664)])
def test_published_numbers_of_parameters(width, heads, published):
    """Those of DeiT-tiny and DeiT-small at 224 pixels; only shapes are computed."""
    block = Residual(LayerNorm(), Attention(heads)), Residual(LayerNorm(), Mlp(4))
    parts = PatchEmbed(choice(width), 16), Repeat(12, *block), LayerNorm(), ClassToken()
    network = DeclaredNetwork("deit", parts, 1000, None)
    images = jnp.zeros((1, 224, 224, 3))
    shapes = jax.eval_shape(network.init, jax.random.key(0), images, jnp.zeros(1, jnp.int8))["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == published


@pytest.mark.slow
def test_contracts():
    images = np.random.default_rng(0).normal(size=(4, 4, 4, 2))
    parts = PatchEmbed(choice(6, 8), 2), *BLOCK, LayerNorm(), Choose(ClassToken(), PatchMean(), GlobalAverage())
    network = DeclaredNetwork("tokens", parts, 3, None)
    check_space(network.space)
    with jax.enable_x64(True):
        check_network(network, network.space, images)


def test_blocks_are_read_back():
    for block in (*BLOCKS, Choose(Attention(2), Attention(3), Mlp(1.5), Mlp(1.5, "relu"), ClassToken(), Skip())):
        assert block_from_record(block_record(block)) == block


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Attention(choice(0, 2)), "Attention must have at least 1 head and channel"),
        (lambda: Attention(choice(1.5, 2)), r"choice\(1.5, 2\) of widths, sizes, times or heads: give whole numbers"),
        (lambda: Repeat(choice(1.5, 2), Mlp()).most, "give whole numbers"),
        (lambda: Mlp(0), "`ratio` of Mlp must be above 0, got 0"),
        (lambda: Mlp(activation="tanh"), "tanh"),
        (lambda: PatchEmbed(8, 0), "`size` of PatchEmbed must be at least 1, got 0"),
        (lambda: choice(-1), "give whole numbers from 0 on"),
        (
            lambda: logits(np.zeros((1, 6, 7, 3))),
            "PatchEmbed of size 2 takes images of sides that it divides, got 6, 7",
        ),
        (
            lambda: NETWORK.init(jax.random.key(0), np.zeros((1, 6, 8, 3)), jnp.zeros(8, jnp.int8)),
            "Attention with relative positions takes one token and a square image",
        ),
        (lambda: logits(np.zeros((1, 8, 8, 3))), r"block1_position_bias has shape \(3, 3, 8\), but these images need"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def logits(images):
    shapes = jax.eval_shape(NETWORK.init, jax.random.key(0), jnp.zeros((1, 6, 6, 3)), jnp.zeros(8, jnp.int8))
    given = {"params": shapes["params"]}
    return jax.eval_shape(lambda variables: NETWORK.apply(variables, images, jnp.zeros(8, jnp.int8)), given)
