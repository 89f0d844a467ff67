"""A second NAS-Bench-201 network and second definitions of the six proxies: slow, plain, nothing shared with jaxnas.

The network is a Python loop over edges in the NCHW layout; a layer is named as its kernel in `params`, a cell's with
"/cell/edge" behind. `tap(name, output)` may change the output of a layer or keep it; so with what arrives at ReLUs,
"relu0", "relu1", ..., and leaves blocks, "block0", ....
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
NONE, SKIP, CONV_1X1, CONV_3X3, POOL = range(5)


def flatten(params):
    """Return {name: array} of every parameter, with the stacked parameters of the cells separated."""
    flat = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = "/".join(key.key for key in path)
        if name.startswith("stage"):
            flat |= {f"{name}/{c}/{e}": leaf[c, e] for c in range(leaf.shape[0]) for e in range(leaf.shape[1])}
        else:
            flat[name] = leaf
    return flat


def is_weight(name):
    return any(part in ("conv", "conv_1x1", "conv_3x3", "shortcut", "classifier") for part in name.split("/"))


def logits(flat, arch, images, *, cells=1, norm="all", tap=lambda name, out: out, statistics=None):
    """Return logits [N K]; the dict `statistics`, if given, receives batch means and unbiased variances."""
    relus, blocks = itertools.count(), itertools.count()

    def relu(x):
        return jnp.maximum(tap(f"relu{next(relus)}", x), 0)

    def end_of_block(x):
        return tap(f"block{next(blocks)}", x)

    def conv(name, x, stride=1, bias=None):
        kernel = jnp.transpose(flat[name], (3, 2, 0, 1))
        out = lax.conv_general_dilated(x, kernel, (stride, stride), [(kernel.shape[-1] // 2,) * 2] * 2)
        if bias in flat:
            out = out + flat[bias].reshape(1, -1, 1, 1)
        return tap(name, out)

    def normalise(name, x, edge="", keep=True):
        if not keep:
            return x
        mean, variance = jnp.mean(x, (0, 2, 3), keepdims=True), jnp.var(x, (0, 2, 3), keepdims=True)
        if statistics is not None:
            count = x.size / x.shape[1]
            statistics[name + edge] = (mean.ravel(), variance.ravel() * count / (count - 1))
        x = (x - mean) / jnp.sqrt(variance + 1e-5)
        if f"{name}_gamma{edge}" in flat:
            gamma, beta = (flat[f"{name}_{kind}{edge}"].reshape(1, -1, 1, 1) for kind in ("gamma", "beta"))
            x = x * gamma + beta
        return x

    def window_sum(x):
        return lax.reduce_window(x, 0.0, lax.add, (1, 1, 3, 3), (1, 1, 1, 1), "SAME")

    def apply_op(op, prefix, edge, x):
        if op == POOL:
            return window_sum(x) / window_sum(jnp.ones_like(x[:1, :1]))
        if op in (CONV_1X1, CONV_3X3):
            name = f"{prefix}/conv_{'1x1' if op == CONV_1X1 else '3x3'}"
            out = conv(name + edge, relu(x), bias=f"{name}_bias{edge}")
            return normalise(f"{prefix}/norm", out, edge, keep=norm == "all")
        return x if op == SKIP else jnp.zeros_like(x)

    def cell(prefix, index, x):
        nodes = [x]
        for node in (1, 2, 3):
            incoming = [e for e, (_, target) in enumerate(EDGES) if target == node]
            nodes.append(sum(apply_op(int(arch[e]), prefix, f"/{index}/{e}", nodes[EDGES[e][0]]) for e in incoming))
        return end_of_block(nodes[3])

    def reduction(name, x):
        keep = norm != "none"
        out = normalise(f"{name}/conv_a/norm", conv(f"{name}/conv_a/conv", relu(x), 2), keep=keep)
        out = normalise(f"{name}/conv_b/norm", conv(f"{name}/conv_b/conv", relu(out)), keep=keep)
        pooled = (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4
        return end_of_block(out + conv(f"{name}/shortcut", pooled))

    x = conv("stem/conv", jnp.transpose(images, (0, 3, 1, 2)))
    x = end_of_block(normalise("stem/norm", x, keep=norm == "all"))
    for stage in (1, 2, 3):
        x = x if stage == 1 else reduction(f"reduction{stage - 1}", x)
        for index in range(cells):
            x = cell(f"stage{stage}", index, x)
    features = relu(normalise("norm", x, keep=norm == "all")).mean((2, 3))
    return tap("classifier", features @ flat["classifier"] + flat["classifier_bias"].reshape(1, -1))


def loss(flat, arch, batch, **options):
    out = logits(flat, arch, batch.images, **options)
    chosen = jnp.sum(out * jax.nn.one_hot(batch.labels, out.shape[1], dtype=out.dtype), 1)
    return jnp.mean(jnp.log(jnp.sum(jnp.exp(out), 1)) - chosen)


def proxies(params, arch, batch):
    """Return the six proxies of one architecture, each computed from its definition."""
    flat = flatten(params)
    weights = {name: leaf for name, leaf in flat.items() if is_weight(name)}
    of_weights = jax.jit(lambda weights: loss(flat | weights, arch, batch))
    gradient, hessian_gradient = jax.jit(lambda w: _gradient_and_hessian_product(of_weights, w))(weights)
    weights, gradient, hessian_gradient = jax.device_get((weights, gradient, hessian_gradient))
    return {
        "grad_norm": sum(np.linalg.norm(g.ravel()) for g in gradient.values()),
        "snip": sum(np.abs(weights[name] * gradient[name]).sum() for name in weights),
        "grasp": -sum((weights[name] * hessian_gradient[name]).sum() for name in weights),
        "fisher": fisher(flat, arch, batch),
        "synflow": synflow(flat, arch, batch.images.shape[1:]),
        "jacob_cov": jacob_cov(flat, arch, batch.images),
    }


def _gradient_and_hessian_product(function, weights):
    """Return g and H g, by reverse mode over reverse mode."""
    gradient = jax.grad(function)(weights)

    def along_gradient(weights):
        of_weights = jax.grad(function)(weights)
        return sum(jnp.sum(of_weights[name] * gradient[name]) for name in weights)

    return gradient, jax.grad(along_gradient)(weights)


def fisher(flat, arch, batch):
    """Return an addition to the output a of every layer; its gradient at 0 is dL/da."""

    def of_additions(added):
        outputs = {}

        def tap(name, out):
            if name in flat:
                outputs[name] = out
            return out + added.get(name, 0)

        return loss(flat, arch, batch, tap=tap), outputs

    shapes = jax.eval_shape(of_additions, {})[1]
    additions = {name: jnp.zeros(out.shape, out.dtype) for name, out in shapes.items()}
    gradients, outputs = jax.jit(jax.grad(of_additions, has_aux=True))(additions)
    total = 0.0
    for name, output in outputs.items():
        per_pixel = np.asarray(output) * np.asarray(gradients[name])
        per_channel = per_pixel.reshape(*per_pixel.shape[:2], -1).sum(2)  # [N O]
        total += (0.5 * (per_channel**2).mean(0)).sum() * flat[name][..., 0].size
    return total


def jacob_cov(flat, arch, images):
    rows = jax.jit(jax.grad(lambda images: logits(flat, arch, images).sum()))(images)
    eigenvalues = np.linalg.eigvals(np.corrcoef(np.asarray(rows, np.float64).reshape(len(images), -1))).real
    return -np.sum(np.log(eigenvalues + 1e-5) + 1 / (eigenvalues + 1e-5))


def synflow(flat, arch, image_shape):
    positive = {name: jnp.abs(leaf) for name, leaf in flat.items()}
    image = jnp.ones((1, *image_shape), jnp.float64)

    def total(flat):
        return logits(flat, arch, image, norm="reduction").sum()

    gradient = jax.jit(jax.grad(total))(positive)
    return sum(np.abs(np.asarray(positive[name] * gradient[name])).sum() for name in positive if is_weight(name))
