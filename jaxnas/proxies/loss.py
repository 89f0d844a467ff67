"""The loss of a minibatch."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def loss_of(outputs: Float[Array, "*N K"], labels: Array) -> Float[Array, ""]:
    """Return the cross-entropy for integer labels, the mean of |output - label| for floating ones."""
    if jnp.issubdtype(labels.dtype, jnp.integer):
        return cross_entropy(outputs, labels)
    return jnp.abs(outputs - labels).mean()


def cross_entropy(logits: Float[Array, "*N K"], labels: Int[Array, "*N"]) -> Float[Array, ""]:
    """Return the mean over images, or their pixels, of -log softmax(logits)[label], in nats."""
    log_probabilities = jax.nn.log_softmax(logits)
    return -jnp.take_along_axis(log_probabilities, labels[..., None], axis=-1).mean()
