"""Activation functions against PyTorch, with their derivatives."""

import jax
import numpy as np
import pytest

from jaxnas.errors import InputError
from jaxnas.networks.activations import ACTIVATIONS, GATE, check_activation, hard_sigmoid, kind_of
from tests.integration import require

POINTS = np.array([-1e3, -6.5, -3.1, -1.0, -1e-3, 0.0, 1e-3, 2.0, 3.1, 6.5, 1e3])
TORCH = {"hard_sigmoid": "hardsigmoid"}


@pytest.mark.parametrize("name", [*ACTIVATIONS, "hard_sigmoid"])
def test_equals_pytorch(name):
    require("torch")
    import torch

    x = torch.tensor(POINTS, requires_grad=True)
    expected = getattr(torch.nn.functional, TORCH.get(name, name))(x)
    (slope,) = torch.autograd.grad(expected.sum(), x)
    function = ACTIVATIONS.get(name, hard_sigmoid)
    with jax.enable_x64(True):
        found, pullback = jax.vjp(function, POINTS)
        np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-12, atol=1e-14)
        rtol = 1e-7 if name == "hard_sigmoid" else 1e-12  # whose slope PyTorch has in float32
        np.testing.assert_allclose(pullback(np.ones_like(POINTS))[0], slope.numpy(), rtol=rtol, atol=1e-14)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_zero_stays_zero(name):
    """Channels that an architecture does not have are 0."""
    assert ACTIVATIONS[name](np.zeros(1, np.float32)) == 0


def test_names_of_what_is_sown():
    assert [kind_of(name) for name in ("last", "block1_silu", "block3_2_1_excite_gate", "edge_0")] == [
        *("relu", "silu", GATE, "relu")
    ]
    with pytest.raises(InputError, match=r"unknown activation 'swish': did you mean 'hardswish'\?"):
        check_activation("swish")
