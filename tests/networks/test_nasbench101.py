"""The network of NAS-Bench-101 against PyTorch modules of one cell alone, and the published parameter counts."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnas
from jaxnas.errors import InputError
from jaxnas.networks import NASBench101Network, init_variables, num_params
from jaxnas.proxies.quantities import Quantities
from jaxnas.spaces import NASBENCH101, sample
from jaxnas.spaces.cell_graphs import EDGES, INNER
from jaxnas.spaces.nasbench101 import to_matrix
from tests.integration import require

torch = require("torch")
F = torch.nn.functional

CHANNELS, CLASSES, CELLS = 7, 3, 2
UNOPTIMISED = {"xla_backend_optimization_level": 0}
TEXTS = (
    "output~0",
    "conv3x3-bn-relu~0|output~0~1",
    "maxpool3x3~0|conv1x1-bn-relu~0~1|conv3x3-bn-relu~1|output~0~2~3",
    "conv1x1-bn-relu~0|conv3x3-bn-relu~0|maxpool3x3~1|conv1x1-bn-relu~2~3|output~1~2~4",  # 3 + 2 + 2 channels of 7
    "conv3x3-bn-relu~0|maxpool3x3~1|conv1x1-bn-relu~1|conv3x3-bn-relu~1|output~1~2~3~4",
)


class TorchCell(torch.nn.Module):
    """One published cell: its layers alone, with the channels that `compute_vertex_channels` gives."""

    def __init__(self, matrix, ops, inputs, outputs):
        super().__init__()
        self.matrix, self.ops, last = matrix, ops, len(ops) - 1
        feeds = matrix[1:-1, -1]
        shared = [outputs // max(feeds.sum(), 1)] * int(feeds.sum())
        for number in range(outputs - sum(shared)) if shared else ():
            shared[number] += 1
        self.widths = [inputs, *([0] * (last - 1)), outputs]
        for vertex in range(last - 1, 0, -1):
            if matrix[vertex, -1]:
                self.widths[vertex] = shared.pop()
            else:
                self.widths[vertex] = max(self.widths[t] for t in range(last) if matrix[vertex, t])
        self.layers = torch.nn.ModuleDict()
        for vertex in range(1, last + 1):
            width = self.widths[vertex]
            if matrix[0, vertex]:
                self.layers[f"entry{vertex}"] = conv_norm_relu(inputs, width, 1)
            if ops[vertex].startswith("conv"):
                self.layers[f"op{vertex}"] = conv_norm_relu(width, width, int(ops[vertex][4]))

    def forward(self, x):
        values, last = [x], len(self.ops) - 1
        for vertex in range(1, last):
            width = self.widths[vertex]
            terms = [values[s][:, :width] for s in range(1, vertex) if self.matrix[s, vertex]]
            terms += [self.layers[f"entry{vertex}"](x)] if self.matrix[0, vertex] else []
            total = sum(terms[1:], terms[0])
            is_pool = self.ops[vertex] == "maxpool3x3"
            values.append(F.max_pool2d(total, 3, 1, 1) if is_pool else self.layers[f"op{vertex}"](total))
        joined = [values[vertex] for vertex in range(1, last) if self.matrix[vertex, last]]
        outs = [torch.cat(joined, 1)] if joined else []
        outs += [self.layers[f"entry{last}"](x)] if self.matrix[0, last] else []
        return sum(outs[1:], outs[0])


def conv_norm_relu(inputs, outputs, size):
    conv = torch.nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False)
    return torch.nn.Sequential(conv, torch.nn.BatchNorm2d(outputs), torch.nn.ReLU())


class TorchNetwork(torch.nn.Module):
    def __init__(self, arch, channels, classes, cells, inputs=3):
        super().__init__()
        matrix, ops = to_matrix(arch)
        self.stem = conv_norm_relu(inputs, channels, 3)
        self.stacks = torch.nn.ModuleList()
        width = channels
        for stack in range(3):
            outputs = channels * 2**stack
            stacked = [TorchCell(matrix, ops, outputs if number else width, outputs) for number in range(cells)]
            self.stacks.append(torch.nn.ModuleList(stacked))
            width = outputs
        self.classifier = torch.nn.Linear(width, classes)

    def forward(self, x):
        x = self.stem(x)
        for number, stack in enumerate(self.stacks):
            x = F.max_pool2d(x, 2, 2) if number else x
            for cell in stack:
                x = cell(x)
        return self.classifier(x.mean((2, 3)))


def layers_of(module, params, arch):
    """Yield each layer of the PyTorch network with where its tensors lie in `params`: module, name, index, kind."""
    for kind, tensor in zip(("kernel", "gamma", "beta"), weights_of(module.stem), strict=True):
        yield tensor, ("stem", {"kernel": "conv"}.get(kind, f"norm_{kind}")), ()
    for number, stack in enumerate(module.stacks, start=1):
        for index, cell in enumerate(stack):
            for name, layer in cell.layers.items():
                part, vertex = name.rstrip("0123456789"), int(name[-1])
                is_last = vertex == len(cell.ops) - 1
                kernel = "exit" if is_last else part if part == "entry" else cell.ops[vertex].removesuffix("-bn-relu")
                norm = "exit" if is_last else part
                place = (index,) if is_last else (index, vertex - 1)
                for kind, tensor in zip(("kernel", "gamma", "beta"), weights_of(layer), strict=True):
                    path = kernel if kind == "kernel" else f"{norm}_norm_{kind}"
                    yield tensor, (f"stack{number}", path), place
    yield module.classifier.weight, ("classifier",), ()
    yield module.classifier.bias, ("classifier_bias",), ()


def weights_of(layer):
    return layer[0].weight, layer[1].weight, layer[1].bias


def leaf_at(params, path, place):
    for name in path:
        params = params[name]
    return np.asarray(params)[place]


def as_torch(values, shape):
    """Return a tensor of ours, whose first inputs and outputs count, in PyTorch's layout."""
    values = np.transpose(values, (3, 2, 0, 1)) if values.ndim == 4 else values.T
    return torch.tensor(values[tuple(slice(size) for size in shape)].copy())


def make_torch(arch, params):
    module = TorchNetwork(arch, CHANNELS, CLASSES, CELLS).double()
    with torch.no_grad():
        for tensor, path, place in layers_of(module, params, arch):
            tensor.copy_(as_torch(leaf_at(params, path, place), tensor.shape))
    return module


@pytest.fixture(scope="module")
def case():
    """Images, labels and noisy params in float64, so that gammas and betas count."""
    with jax.enable_x64(True):
        network = NASBench101Network(num_classes=CLASSES, channels=CHANNELS, cells_per_stage=CELLS)
        rng = np.random.default_rng(0)
        images, labels = rng.normal(size=(6, 8, 8, 3)), np.arange(6) % CLASSES
        arch = jnp.asarray(NASBENCH101.parse(TEXTS[0]))
        shapes = jax.eval_shape(network.init, jax.random.key(0), images, arch)["params"]
        params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), shapes)

        return network, images, labels, params


def test_logits_are_those_of_pytorch(case):
    network, images, _, params = case
    with jax.enable_x64(True):

        @partial(jax.jit, compiler_options=UNOPTIMISED)
        def run(params, arch):
            params = network.params_for(params, arch)
            return network.apply({"params": params}, images, arch), params

        for text in TEXTS:
            arch = NASBENCH101.parse(text)
            logits, live = run(params, jnp.asarray(arch))
            expected = make_torch(arch, live)(torch.tensor(images.transpose(0, 3, 1, 2)))
            np.testing.assert_allclose(logits, expected.detach(), rtol=0, atol=1e-12)


@pytest.fixture(scope="module")
def gradient(case):
    """The program of loss, logits, and gradients."""
    network, images, labels, _ = case

    def loss(params, arch):
        logits = network.clone(reverse=True).apply({"params": params}, images, arch)
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(6), labels]), logits

    return jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=UNOPTIMISED)


@pytest.mark.slow
@pytest.mark.parametrize("text", TEXTS)
def test_gradients_are_those_of_pytorch(case, gradient, text):
    network, images, labels, params = case
    arch = NASBENCH101.parse(text)
    with jax.enable_x64(True):
        live = network.params_for(params, arch)
        (loss, logits), gradients = gradient(live, jnp.asarray(arch))
        module = make_torch(arch, live)
        expected = module(torch.tensor(images.transpose(0, 3, 1, 2)))
        expected_loss = F.cross_entropy(expected, torch.tensor(labels))
        expected_loss.backward()
        np.testing.assert_allclose(logits, expected.detach(), rtol=0, atol=1e-12)
        np.testing.assert_allclose(loss, expected_loss.item(), rtol=1e-13)
        total = 0.0
        for tensor, path, place in layers_of(module, live, arch):
            found = as_torch(leaf_at(gradients, path, place), tensor.shape)
            np.testing.assert_allclose(found, tensor.grad, rtol=1e-9, atol=1e-12)
            total += tensor.grad.square().sum().item()
        ours = sum(float(jnp.square(leaf).sum()) for leaf in jax.tree.leaves(gradients))
        np.testing.assert_allclose(ours, total, rtol=1e-10)  # and nothing else has a gradient
        count = sum(tensor.numel() for tensor in module.parameters())
        assert int(num_params(network, params, arch)) == count


@pytest.mark.slow
def test_proxies_are_those_of_pytorch(case):
    """grad_norm, snip, synflow and the Jacobian of the input by backward passes of PyTorch."""
    network, images, labels, params = case
    batch = jaxnas.Batch(images, labels)
    archs = np.stack([NASBENCH101.parse(text) for text in TEXTS])
    with jax.enable_x64(True):

        @jax.jit
        def score(arch):
            q = Quantities(network, params, arch, batch)
            names = ("grad_norm", "snip", "synflow")
            return [jaxnas.PROXIES[name](q) for name in names], q.input_jacobian

        for arch in archs:
            live = network.params_for(params, arch)
            values, jacobian = score(jnp.asarray(arch))
            module = make_torch(arch, live)
            x = torch.tensor(images.transpose(0, 3, 1, 2), requires_grad=True)
            module(x).sum().backward()
            np.testing.assert_allclose(jacobian, x.grad.permute(0, 2, 3, 1), rtol=1e-9, atol=1e-12)
            module.zero_grad()
            F.cross_entropy(module(x), torch.tensor(labels)).backward()
            kernels = [tensor for tensor in module.parameters() if tensor.ndim > 1]
            norm = sum(tensor.grad.norm().item() for tensor in kernels)
            np.testing.assert_allclose(values[0], norm, rtol=1e-9)
            snip = sum((tensor.grad * tensor).abs().sum().item() for tensor in kernels)
            np.testing.assert_allclose(values[1], snip, rtol=1e-9)
            np.testing.assert_allclose(values[2], torch_synflow(arch, live, images.shape[1]), rtol=1e-9)


def torch_synflow(arch, params, pixels):
    """Positive params, no normalisation, one image of ones."""
    module = make_torch(arch, params)
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.forward = lambda x: x
    with torch.no_grad():
        for tensor in module.parameters():
            tensor.abs_()
    module(torch.ones(1, 3, pixels, pixels, dtype=torch.float64)).sum().backward()
    return sum((tensor * tensor.grad).sum().item() for tensor in module.parameters() if tensor.ndim > 1)


def shapes_of(network, pixels=8):
    arch = jnp.zeros(26, jnp.int8)
    return jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, pixels, pixels, 3)), arch)["params"]


def count_at_full_size(archs):
    network = NASBench101Network()
    shapes = shapes_of(network)
    count = jax.jit(lambda arch: num_params(network, shapes, arch), compiler_options=UNOPTIMISED)
    return [int(count(jnp.asarray(arch))) for arch in archs]


@pytest.mark.data
@pytest.mark.parametrize("step", [250, pytest.param(1, marks=pytest.mark.slow)])
def test_parameters_of_a_public_sample(data_folder, step):
    """All 500 of NAS-Bench-Suite-Zero, whose vertices have the numbers of the sample: widths depend on them."""
    with np.load(data_folder / "nb101" / "nb101_sample.npz") as file:
        published = file["scores"][::step, file["columns"].tolist().index("params")]
        archs = np.stack([own_numbers(row) for row in file["encoding"][::step]])
    distinct, place = np.unique(archs, axis=0, return_inverse=True)
    found = np.array(count_at_full_size(distinct))[place]
    np.testing.assert_array_equal(np.float32(found) / np.float32(1e6), published)


@pytest.mark.slow
def test_published_extremes():
    """The fewest and the most parameters of the benchmark's cells, 227,274 and 49,979,274."""
    fewest = "maxpool3x3~0|maxpool3x3~1|maxpool3x3~1|maxpool3x3~1|output~1~2~3~4"
    most = "conv3x3-bn-relu~0|" + "|".join(f"conv3x3-bn-relu~0~{vertex}" for vertex in (1, 2, 3))
    archs = [NASBENCH101.parse(text) for text in (fewest, f"{most}|conv3x3-bn-relu~4|output~5")]
    assert count_at_full_size(archs) == [227_274, 49_979_274]


def own_numbers(row):
    """Return a row of the sample as a vector with its own numbers of vertices, without those on no path."""
    matrix = row[:49].reshape(7, 7).astype(bool)
    reach = np.linalg.matrix_power(matrix + np.eye(7, dtype=int), 6) > 0
    kept = reach[0] & reach[:, 6]
    matrix &= kept[:, None] & kept[None]
    ops = [4 - row[49 + vertex] if kept[vertex] else 0 for vertex in INNER]
    return np.array([*(matrix[edge] for edge in EDGES), *ops], np.int8)


@pytest.mark.slow
def test_draws_have_the_deviation_of_the_channels_that_feed_them():
    network = NASBench101Network(channels=24, cells_per_stage=2)
    params = init_variables(network, (8, 8, 3), 26, seed=0)["params"]
    arch = NASBENCH101.parse(TEXTS[2])
    live = network.params_for(params, arch)
    kernels = np.asarray(live["stack3"]["conv3x3"])  # of the third vertex, which has half of 96 channels
    drawn = kernels[:, 2][kernels[:, 2] != 0]
    assert len(drawn) == 2 * 9 * 48 * 48
    np.testing.assert_allclose(drawn.std(), (9 * 48) ** -0.5, rtol=0.03)
    entry = np.asarray(live["stack3"]["entry"])[0, 0]
    assert not entry[..., 48:, :].any()
    np.testing.assert_allclose(entry[..., :48, :48].std(), 48**-0.5, rtol=0.05)


def test_too_few_channels_are_refused():
    with pytest.raises(InputError, match="`channels` of NAS-Bench-101 must be at least 4, got 3"):
        NASBench101Network(channels=3)
    network, arch = NASBench101Network(channels=4), jnp.zeros(26, jnp.int8)
    with pytest.raises(InputError, match=r"give \[N, H, W, C\]"):
        network.init(jax.random.key(0), jnp.zeros((2, 3)), arch)


@pytest.mark.slow
def test_architectures_of_the_space_have_channels_for_every_vertex():
    archs = sample(NASBENCH101, 300, seed=0)
    network = NASBench101Network(channels=4, cells_per_stage=1)
    shapes = shapes_of(network)
    count = jax.jit(jax.vmap(lambda arch: num_params(network, shapes, arch)), compiler_options=UNOPTIMISED)
    counts = count(jnp.asarray(archs))
    expected = [sum(t.numel() for t in TorchNetwork(arch, 4, 10, 1).parameters()) for arch in archs]
    np.testing.assert_array_equal(counts, expected)
