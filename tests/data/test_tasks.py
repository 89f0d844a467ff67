"""Minibatches of the seven tasks: what labels mean, and that a network of each task takes them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas.data.tasks import TASKS, get_task, permutations, task_batch
from jaxnas.errors import InputError
from jaxnas.networks import TransNAS101MicroNetwork
from jaxnas.proxies import Quantities
from jaxnas.proxies.loss import loss_of
from jaxnas.scoring.engine import check_batch, score_archs

FAST = ("class_scene",)
IMAGES = np.random.default_rng(0).normal(size=(6, 32, 32, 3)).astype(np.float32)


@pytest.mark.parametrize("task", [pytest.param(task, marks=[pytest.mark.slow] * (task not in FAST)) for task in TASKS])
def test_batch_fits_the_network_of_its_task(task):
    head, num_classes = TASKS[task]
    network = TransNAS101MicroNetwork(num_classes=num_classes, head=head, channels=4)
    batch = task_batch(task, IMAGES, seed=1)
    check_batch(network, batch)
    params = jax.eval_shape(network.init, jax.random.key(0), batch.images, jnp.zeros(6, jnp.int8))["params"]
    quantities = Quantities(network, params, jnp.zeros(6, jnp.int8), batch)
    assert jax.eval_shape(lambda params: Quantities(network, params, quantities.arch, batch).loss, params).shape == ()


@pytest.mark.parametrize("task", TASKS)
def test_same_seed_same_batch(task):
    for one, other in zip(task_batch(task, IMAGES, 3), task_batch(task, IMAGES, 3), strict=True):
        np.testing.assert_array_equal(one, other)


def test_puzzles_put_together_are_the_images():
    images, labels = map(np.asarray, task_batch("jigsaw", IMAGES, seed=0))
    for pieces, label, image in zip(images, labels, IMAGES, strict=True):
        whole = np.empty((30, 30, 3), np.float32)
        for piece, place in zip(pieces, permutations(1000)[label], strict=True):
            row, column = divmod(int(place), 3)
            whole[10 * row :][:10, 10 * column :][:, :10] = piece
        np.testing.assert_array_equal(whole, image[:30, :30])


def test_permutations_differ():
    orders = permutations(1000)
    assert len({tuple(order) for order in orders}) == 1000
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.tile(np.arange(9), (1000, 1)))
    np.testing.assert_array_equal(orders[:10], permutations(10))


def test_segments_are_levels_of_brightness():
    labels = np.asarray(task_batch("segmentsemantic", IMAGES, seed=0).labels)
    brightness = IMAGES.mean(-1)
    assert labels.shape == brightness.shape
    assert np.ptp(np.bincount(labels.ravel(), minlength=17)) <= 1
    order = np.argsort(brightness, axis=None)
    assert (np.diff(labels.ravel()[order]) >= 0).all()


def test_normals_of_a_plane():
    """z = 2 x + 3 y (x to the right, y down) has the normal (-2, -3, 1) / sqrt(14)."""
    y, x = np.mgrid[:8, :8].astype(np.float32)
    plane = np.repeat((2 * x + 3 * y)[None, ..., None], 3, axis=-1)
    labels = np.asarray(task_batch("normal", plane, seed=0).labels)
    np.testing.assert_allclose(labels, np.broadcast_to(np.array([-2, -3, 1]) / 14**0.5, (1, 8, 8, 3)), rtol=1e-5)


def test_an_autoencoder_shall_give_its_input():
    labels = np.asarray(task_batch("autoencoder", IMAGES, seed=0).labels)
    np.testing.assert_allclose(labels, np.clip(IMAGES / 3, -1, 1))


def test_classes_are_balanced():
    labels = np.asarray(task_batch("room_layout", np.zeros((20, 4, 4, 1), np.float32), seed=0).labels)
    assert np.ptp(np.bincount(labels, minlength=9)) == 1


def test_loss_is_that_of_the_labels():
    rng = np.random.default_rng(0)
    outputs = rng.normal(size=(2, 3, 4, 5))
    classes, images = rng.integers(0, 5, (2, 3, 4)), rng.normal(size=outputs.shape)
    shares = np.exp(outputs) / np.exp(outputs).sum(-1, keepdims=True)
    expected = -np.log(np.take_along_axis(shares, classes[..., None], -1)).mean()
    np.testing.assert_allclose(loss_of(jnp.asarray(outputs), jnp.asarray(classes)), expected, rtol=1e-5)
    np.testing.assert_allclose(loss_of(jnp.asarray(outputs), jnp.asarray(images)), abs(outputs - images).mean(), 1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: get_task("jigsav"), "unknown task 'jigsav': did you mean 'jigsaw'"),
        (
            lambda: task_batch("jigsaw", np.zeros((2, 2, 2, 1), np.float32), 0),
            "at least 3 x 3 pixels to be cut into puzzles, got 2 x 2",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize("labels", [np.zeros(6, np.int32), np.zeros((6, 16, 16), np.int32), np.zeros(6, np.float32)])
def test_labels_that_do_not_fit_are_refused(labels):
    network = TransNAS101MicroNetwork(num_classes=17, head="segmentation", channels=4)
    batch = task_batch("segmentsemantic", IMAGES, 0)._replace(labels=jnp.asarray(labels))
    with pytest.raises(InputError, match=r"for outputs \(6, 32, 32, 17\)"):
        score_archs(network, np.zeros((1, 6), np.int8), batch)
