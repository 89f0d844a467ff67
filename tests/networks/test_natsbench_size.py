"""The networks of NATS-Bench's size space against PyTorch modules of one architecture alone."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas.networks import NATSBenchSizeNetwork, num_params
from jaxnas.networks.declared.network import Conv, DeclaredNetwork, Match, choice
from jaxnas.spaces import NATSBENCH_SIZE, sample
from jaxnas.testing import check_network
from tests.integration import require

torch = require("torch")
F = torch.nn.functional

UNOPTIMISED = {"xla_backend_optimization_level": 0}
TEXTS = ("8:64:16:32:8", "16:16:16:16:16", "24:8:8:40:64")
SOURCES = {"0to1": 0, "0to2": 0, "1to2": 1, "0to3": 0, "1to3": 1, "2to3": 2}


class TorchCell(torch.nn.Module):
    """The published cell from `inputs` to `outputs` channels."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.edges = torch.nn.ModuleDict()
        for edge, source in SOURCES.items():
            given = outputs if source else inputs
            if edge != "0to3":
                self.edges[edge] = relu_conv_norm(given, outputs)
            elif inputs != outputs:  # what the published code calls a factorized reduction of stride 1
                conv = torch.nn.Conv2d(inputs, outputs, 1, bias=False)
                self.edges[edge] = torch.nn.Sequential(conv, torch.nn.BatchNorm2d(outputs))

    def forward(self, x):
        nodes = [x]
        for target in (1, 2, 3):
            edges = [(f"{source}to{target}", nodes[source]) for source in range(target)]
            nodes.append(sum(self.edges[edge](node) if edge in self.edges else node for edge, node in edges))
        return nodes[-1]


class TorchBlock(torch.nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.first, self.second = relu_conv_norm(inputs, outputs, 2), relu_conv_norm(outputs, outputs)
        self.shortcut = torch.nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x):
        return self.second(self.first(x)) + self.shortcut(F.avg_pool2d(x, 2, 2))


def relu_conv_norm(inputs, outputs, stride=1):
    conv = torch.nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return torch.nn.Sequential(torch.nn.ReLU(), conv, torch.nn.BatchNorm2d(outputs))


class TorchNetwork(torch.nn.Module):
    def __init__(self, widths, classes):
        super().__init__()
        a, b, c, d, e = widths
        self.stem = torch.nn.Sequential(torch.nn.Conv2d(3, a, 3, 1, 1, bias=False), torch.nn.BatchNorm2d(a))
        blocks = (TorchCell(a, a), TorchBlock(a, b), TorchCell(b, c), TorchBlock(c, d), TorchCell(d, e))
        self.blocks = torch.nn.ModuleList(blocks)
        self.last = torch.nn.BatchNorm2d(e)
        self.classifier = torch.nn.Linear(e, classes)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.classifier(F.relu(self.last(x)).mean((2, 3)))


def layers_of(module):
    """Yield each tensor of the PyTorch network with the name of ours."""
    yield from named("block1", module.stem)
    for number, block in enumerate(module.blocks, start=2):
        name = f"block{number}"
        if isinstance(block, TorchCell):
            for edge, layer in block.edges.items():
                yield from named(f"{name}_{edge}", layer)
        else:
            yield from named(f"{name}_1", block.first)
            yield from named(f"{name}_2", block.second)
            yield block.shortcut.weight, f"{name}_shortcut"
    yield from ((module.last.weight, "last_norm_gamma"), (module.last.bias, "last_norm_beta"))
    yield from ((module.classifier.weight, "classifier"), (module.classifier.bias, "classifier_bias"))


def named(name, layer):
    conv, norm = list(layer)[-2:]
    yield from ((conv.weight, name), (norm.weight, f"{name}_norm_gamma"), (norm.bias, f"{name}_norm_beta"))


def as_torch(values, shape):
    values = np.asarray(values)
    values = np.transpose(values, (3, 2, 0, 1)) if values.ndim == 4 else values.T
    return torch.tensor(values[tuple(slice(size) for size in shape)].copy())


def widths_of(text):
    return [int(part) for part in text.split(":")]


@pytest.fixture(scope="module")
def case():
    with jax.enable_x64(True):
        network = NATSBenchSizeNetwork(num_classes=3)
        rng = np.random.default_rng(0)
        images = rng.normal(size=(4, 8, 8, 3))
        shapes = jax.eval_shape(network.init, jax.random.key(0), images, jnp.zeros(5, jnp.int8))["params"]
        return network, images, {name: jnp.asarray(rng.normal(size=leaf.shape)) for name, leaf in shapes.items()}


@pytest.mark.slow
@pytest.mark.parametrize("text", TEXTS)
def test_logits_and_gradients_are_those_of_pytorch(case, text):
    network, images, params = case
    labels = np.arange(4) % 3
    with jax.enable_x64(True):

        @partial(jax.jit, compiler_options=UNOPTIMISED)
        @partial(jax.value_and_grad, has_aux=True)
        def run(params, arch):
            logits = network.apply({"params": params}, images, arch)
            return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(4), labels]), logits

        arch = NATSBENCH_SIZE.parse(text)
        live = network.params_for(params, arch)
        (_, logits), gradients = run(live, jnp.asarray(arch))
        module = TorchNetwork(widths_of(text), 3).double()
        with torch.no_grad():
            for tensor, name in layers_of(module):
                tensor.copy_(as_torch(live[name], tensor.shape))
        expected = module(torch.tensor(images.transpose(0, 3, 1, 2)))
        F.cross_entropy(expected, torch.tensor(labels)).backward()
        np.testing.assert_allclose(logits, expected.detach(), rtol=1e-11, atol=1e-12)
        squares = 0.0
        for tensor, name in layers_of(module):
            np.testing.assert_allclose(as_torch(gradients[name], tensor.shape), tensor.grad, rtol=1e-8, atol=1e-11)
            squares += tensor.grad.square().sum().item()
        np.testing.assert_allclose(
            sum(float(jnp.square(leaf).sum()) for leaf in gradients.values()), squares, rtol=1e-9
        )


def test_parameters_are_those_of_pytorch(case):
    network, _, params = case
    shapes = {name: jax.ShapeDtypeStruct(leaf.shape, jnp.float32) for name, leaf in params.items()}
    archs = np.concatenate([[NATSBENCH_SIZE.parse(text) for text in TEXTS], sample(NATSBENCH_SIZE, 20, seed=0)])
    expected = [TorchNetwork(widths_of(NATSBENCH_SIZE.format(arch)), 3) for arch in archs]
    counts = [sum(tensor.numel() for tensor in module.parameters()) for module in expected]
    assert [int(num_params(network, shapes, arch)) for arch in archs] == counts


def test_the_space_is_nats_benchs():
    """32,768 architectures of 5 widths, written as the benchmark writes them."""
    assert NATSBENCH_SIZE.size == 32_768
    assert NATSBENCH_SIZE.format(np.array([0, 7, 1, 3, 0], np.int8)) == "8:64:16:32:8"
    small = NATSBenchSizeNetwork(channels=4)
    assert [options[:3] for options in small.choice_options()] == [(4, 8, 12)] * 5


@pytest.mark.slow
def test_a_match_of_other_sizes_keeps_the_contract():
    blocks = (Conv(choice(2, 3)), Match(), Conv(choice(2, 3, 4)), Match(), Conv(3))
    network = DeclaredNetwork("match", blocks, num_classes=3)
    check_network(network, network.space, np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype(np.float32))
