"""Implement networks and six zero-cost proxies in eager PyTorch, as the baseline of `throughput.py`.

A network contains only the chosen ops and takes NCHW images. `NASBench201` is written as public code has it: cell
convolutions have a bias and cell normalisation has no parameters, as in zero-cost-nas (Abdelfattah et al. 2021,
arXiv:2101.08134). `Exported` runs the code that `jaxnas export --to torch` writes for an architecture of any space.
Each function of `PROXIES` makes the passes of the public code by itself; `scores(..., shared=True)` makes as few passes
as eager PyTorch allows.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial, reduce
from operator import getitem
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from jaxnas.spaces.nasbench201 import EDGES, NUM_NODES, OP_NAMES

TWICE_DIFFERENTIABLE = partial(sdpa_kernel, SDPBackend.MATH)  # the faster attention has no second derivative


class Cell(nn.Module):
    """Cell of NAS-Bench-201: node j is the sum of op(node i) over edges (i, j).

    An edge with "none" contributes nothing, and a node without other edges is 0.
    """

    def __init__(self, ops: Sequence[str], channels: int):
        super().__init__()
        make = {
            "skip_connect": nn.Identity,
            "nor_conv_1x1": lambda: conv_norm("conv_1x1", channels, channels, 1, affine=False),
            "nor_conv_3x3": lambda: conv_norm("conv_3x3", channels, channels, 3, affine=False),
            "avg_pool_3x3": lambda: nn.AvgPool2d(3, 1, 1, count_include_pad=False),
        }
        self.edges = nn.ModuleDict({str(edge): make[op]() for edge, op in enumerate(ops) if op != "none"})

    def forward(self, x: Tensor) -> Tensor:
        nodes = [x]
        for node in range(1, NUM_NODES):
            incoming = [(str(edge), source) for edge, (source, target) in enumerate(EDGES) if target == node]
            terms = [self.edges[edge](nodes[source]) for edge, source in incoming if edge in self.edges]
            nodes.append(reduce(torch.add, terms) if terms else torch.zeros_like(x))
        return nodes[-1]


class ReductionBlock(nn.Module):
    """Residual block that halves the image size and doubles the channels; its shortcut has no normalisation."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv_a = conv_norm("conv", channels, 2 * channels, 3, stride=2)
        self.conv_b = conv_norm("conv", 2 * channels, 2 * channels, 3)
        self.pool = nn.AvgPool2d(2)
        self.shortcut = nn.Conv2d(channels, 2 * channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(self.pool(x)) + self.conv_b(self.conv_a(x))


class NASBench201(nn.Module):
    """Network that maps images [N C H W] to logits [N K]; its modules have the names of our flax params.

    The initial values are those of PyTorch. Normalisation uses the statistics of the minibatch and stores none.
    """

    def __init__(self, arch: np.ndarray, num_classes: int = 10, channels: int = 16, cells_per_stage: int = 5):
        super().__init__()
        ops = [OP_NAMES[op] for op in arch]

        def stage(width):
            return nn.Sequential(*[Cell(ops, width) for _ in range(cells_per_stage)])

        self.stem = conv_norm("conv", 3, channels, 3, relu=False)
        self.stage1 = stage(channels)
        self.reduction1 = ReductionBlock(channels)
        self.stage2 = stage(2 * channels)
        self.reduction2 = ReductionBlock(2 * channels)
        self.stage3 = stage(4 * channels)
        self.norm = nn.BatchNorm2d(4 * channels, track_running_stats=False)
        self.classifier = nn.Linear(4 * channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stage1(self.stem(images))
        x = self.stage2(self.reduction1(x))
        x = self.stage3(self.reduction2(x))
        return self.classifier(F.relu(self.norm(x)).mean((2, 3)))

    def without_norms(self) -> nn.Module:
        """Return a copy in float64 whose batch normalisation is only that inside the two reduction blocks."""
        copied = copy.deepcopy(self).double()
        cells = [module for module in copied.modules() if isinstance(module, Cell)]
        for block in (copied, copied.stem, *(op for cell in cells for op in cell.edges.values())):
            if hasattr(block, "norm"):
                block.norm = nn.Identity()
        return copied


class Exported(nn.Module):
    """The exported module of an architecture; its normalisation uses the statistics of the minibatch and stores none.

    Args:
      code: The Python code of the module, which defines `Network`.
      tensors: Its state dictionary.
    """

    def __init__(self, code: str, tensors: dict[str, np.ndarray]):
        super().__init__()
        gates = {"hardsigmoid": lambda x: F.relu6(x + 3) / 6}  # PyTorch's own has no second derivative
        self.network = self._build(code, tensors, SimpleNamespace(**{**vars(F), **gates}))
        linear = {name: lambda x: x for name in ("relu", "relu6", "hardswish", "silu")}
        flow = self._build(code, tensors, SimpleNamespace(**{**vars(F), **linear, "hardsigmoid": torch.ones_like}))
        for module in list(flow.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.BatchNorm2d):
                    setattr(module, name, nn.Identity())
        self._flow = [flow]  # in a list, so that it is no submodule

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)

    def without_norms(self) -> nn.Module:
        """Return a copy in float64 without batch normalisation and activations between convolutions; gates are 1."""
        return copy.deepcopy(self._flow[0]).double()

    def _build(self, code: str, tensors: dict[str, np.ndarray], functions) -> nn.Module:
        scope = {"__name__": "exported", "__file__": "model.py"}
        exec(code, scope)
        scope["F"] = functions
        network = scope["Network"]()
        network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in tensors.items()})
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.track_running_stats = False
                module.running_mean = module.running_var = module.num_batches_tracked = None
        return network


Network = NASBench201 | Exported


def conv_norm(name, inputs, outputs, size, *, stride=1, affine=True, relu=True) -> nn.Sequential:
    """Build a ReLU, the convolution `name` and batch normalisation.

    The convolution has a bias if the normalisation is not affine.
    """
    block = nn.Sequential()
    if relu:
        block.add_module("relu", nn.ReLU())
    block.add_module(name, nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=not affine))
    block.add_module("norm", nn.BatchNorm2d(outputs, affine=affine, track_running_stats=False))
    return block


def load_params(network: NASBench201, params: dict) -> None:
    """Copy the params of our flax supernet (NumPy arrays) that belong to the ops of `network`.

    Kernels are transposed from HWIO to OIHW, that of the classifier from [in out] to [out in].
    """
    suffixes = {"weight": "", "bias": "_bias"}
    suffixes_of_norm = {"weight": "_gamma", "bias": "_beta"}
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            *path, layer, kind = name.split(".")
            key = layer + (suffixes_of_norm if layer == "norm" else suffixes)[kind]
            if "edges" in path:
                stage, cell, _, edge = path
                leaf = params[stage][key][int(cell), int(edge)]
            else:
                leaf = reduce(getitem, [*path, key], params)
            leaf = leaf.transpose(3, 2, 0, 1) if leaf.ndim == 4 else leaf.T
            parameter.copy_(torch.from_numpy(np.array(leaf)))


def kernel_layers(network: Network) -> list[nn.Conv2d | nn.Linear]:
    """Return the layers whose kernels the proxies read."""
    return [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]


def backward(network: Network, images: Tensor, labels: Tensor) -> list[Tensor]:
    """Run one forward and one backward pass of the mean cross-entropy; return the kernels that the loss depends on."""
    network.zero_grad()
    F.cross_entropy(network(images), labels).backward()
    return [layer.weight for layer in kernel_layers(network) if layer.weight.grad is not None]


@contextmanager
def recording(network: Network) -> Iterator[list[tuple[nn.Module, Tensor]]]:
    """Record (layer, output) of every convolution and linear layer during the forward passes of the body."""
    outputs: list[tuple[nn.Module, Tensor]] = []
    hooks = [
        layer.register_forward_hook(lambda layer, _, output: outputs.append((layer, output)))
        for layer in kernel_layers(network)
    ]
    yield outputs
    for hook in hooks:
        hook.remove()


def grad_norm(network: Network, images: Tensor, labels: Tensor) -> float:
    """Return the sum over layers of the L2 norm of the loss gradient."""
    return float(sum(w.grad.norm() for w in backward(network, images, labels)))


def snip(network: Network, images: Tensor, labels: Tensor) -> float:
    """Return the sum of |w g| over all kernel entries w with gradient g."""
    return float(sum((w.detach() * w.grad).abs().sum() for w in backward(network, images, labels)))


def grasp(network: Network, images: Tensor, labels: Tensor) -> float:
    """Return -sum of w (H g); g takes a separate pass, H g a backward pass through the graph of a second gradient."""
    kernels = [layer.weight for layer in kernel_layers(network)]
    network.zero_grad()
    loss = F.cross_entropy(network(images), labels)
    gradient = torch.autograd.grad(loss, kernels, materialize_grads=True)
    with TWICE_DIFFERENTIABLE():
        loss = F.cross_entropy(network(images), labels)
    differentiable = torch.autograd.grad(loss, kernels, create_graph=True, materialize_grads=True)
    sum((g * d).sum() for g, d in zip(gradient, differentiable, strict=True)).backward()
    return -float(sum((w.detach() * w.grad).sum() for w in kernels if w.grad is not None))


def fisher(network: Network, images: Tensor, labels: Tensor) -> float:
    """Return the sum over layers and output channels of (entries per channel) 1/2 mean_n (sum_pixels a dL/da)^2."""
    network.zero_grad()
    with recording(network) as outputs:
        logits = network(images)
    for _, output in outputs:
        output.retain_grad()
    F.cross_entropy(logits, labels).backward()
    return float(sum(_fisher_of_layer(layer, a, a.grad) for layer, a in outputs if a.grad is not None))


def _fisher_of_layer(layer, output, gradient):
    product = (output.detach() * gradient).reshape(*output.shape[:2], -1).sum(2)  # [N O]
    return layer.weight[0].numel() * 0.5 * product.square().mean(0).sum()


def synflow(network: Network, images: Tensor, labels: Tensor) -> float:
    """Return the sum of |w dR/dw| over kernel entries w in float64.

    R is the sum of the logits for an image of ones, with the absolute values of all parameters, of the network's
    `without_norms`.
    """
    network.zero_grad()
    positive = network.without_norms()
    for parameter in positive.parameters():
        parameter.data.abs_()
    positive(torch.ones(1, *images.shape[1:], dtype=torch.float64, device=images.device)).sum().backward()
    kernels = [layer.weight for layer in kernel_layers(positive) if layer.weight.grad is not None]
    return float(sum((w.detach() * w.grad).abs().sum() for w in kernels))


def jacob_cov(network: Network, images: Tensor, labels: Tensor) -> float:
    """Return -sum_i log(v_i + k) + 1 / (v_i + k), v the eigenvalues of the correlation of the input Jacobian's rows."""
    network.zero_grad()
    images = images.clone().requires_grad_()
    logits = network(images)
    logits.backward(torch.ones_like(logits))
    return _jacob_cov_of_rows(images.grad)


def _jacob_cov_of_rows(jacobian):
    """Return the score, or NaN if the logits do not depend on the images (no Jacobian, or constant rows)."""
    if jacobian is None:
        return float("nan")
    correlation = torch.corrcoef(jacobian.flatten(1).double())
    if not correlation.isfinite().all():
        return float("nan")
    eigenvalues = torch.linalg.eigvalsh(correlation) + 1e-5
    return -float((eigenvalues.log() + 1 / eigenvalues).sum())


PROXIES = {
    "grad_norm": grad_norm,
    "snip": snip,
    "grasp": grasp,
    "fisher": fisher,
    "synflow": synflow,
    "jacob_cov": jacob_cov,
}


def scores(network: Network, images: Tensor, labels: Tensor, *, shared: bool = False) -> dict[str, float]:
    """Return all six scores for images [N C H W] in the dtype of the network and labels int64 [N].

    By default each proxy makes separate passes. With `shared` there are one forward pass, one backward pass for the
    loss gradient of kernels and outputs (grad_norm, snip, fisher), one backward pass through that one for grasp, and
    one for the Jacobian; synflow still makes separate passes.
    """
    if not shared:
        return {name: proxy(network, images, labels) for name, proxy in PROXIES.items()}
    kernels = [layer.weight for layer in kernel_layers(network)]
    images = images.clone().requires_grad_()
    with recording(network) as recorded, TWICE_DIFFERENTIABLE():
        logits = network(images)
    layers, outputs = zip(*recorded, strict=True)
    (jacobian,) = torch.autograd.grad(logits.sum(), [images], retain_graph=True, allow_unused=True)
    loss = F.cross_entropy(logits, labels)
    gradients = torch.autograd.grad(loss, [*kernels, *outputs], create_graph=True, materialize_grads=True)
    differentiable, output_gradients = gradients[: len(kernels)], [g.detach() for g in gradients[len(kernels) :]]
    gradient = [g.detach() for g in differentiable]
    product = sum((g * d).sum() for g, d in zip(gradient, differentiable, strict=True))
    curvature = torch.autograd.grad(product, kernels, materialize_grads=True)
    values = [w.detach() for w in kernels]
    return {
        "grad_norm": float(sum(g.norm() for g in gradient)),
        "snip": float(sum((w * g).abs().sum() for w, g in zip(values, gradient, strict=True))),
        "grasp": -float(sum((w * h).sum() for w, h in zip(values, curvature, strict=True))),
        "fisher": float(sum(map(_fisher_of_layer, layers, outputs, output_gradients))),
        "synflow": synflow(network, images, labels),
        "jacob_cov": _jacob_cov_of_rows(jacobian),
    }
