"""Arbitrary arrays are an image set or an InputError, never another exception."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from jaxnas.data.images import ImageData, from_arrays
from jaxnas.data.load import load_images
from jaxnas.errors import InputError

DTYPES = [np.dtype(name) for name in ("u1", "i4", "i8", "u8", "f2", "f4", "f8", "?", "c8", "M8[s]", "S3", "U2")]
any_array = st.sampled_from(DTYPES).flatmap(
    lambda dtype: arrays(dtype, array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6))
)
labels = arrays(np.int64, st.integers(1, 12), elements=st.integers(-1, 3))
likely = st.one_of(any_array, labels)


@contextmanager
def refusing() -> Iterator[None]:
    """Let an InputError of one non-empty line pass, and nothing else."""
    message = "none"
    try:
        yield
    except InputError as error:
        message = str(error)
    assert len(message.splitlines()) == 1, repr(message)


def check(data: ImageData) -> None:
    """Check what every image set promises."""
    for images, classes in ((data.train_images, data.train_labels), (data.test_images, data.test_labels)):
        assert images.ndim == 4
        assert images.dtype == np.float32
        assert np.isfinite(images).all()
        assert classes.shape == images.shape[:1]
        assert ((classes >= 0) & (classes < data.num_classes)).all()


@settings(max_examples=200, deadline=None)
@given(x=any_array, y=likely, x_test=st.none() | any_array, y_test=st.none() | likely)
def test_from_arrays(x, y, x_test, y_test):
    with refusing():
        check(from_arrays(x, y, x_test, y_test))


@settings(max_examples=60, deadline=None)
@given(stored=st.tuples(any_array, likely, any_array, likely))
def test_load_images(tmp_path_factory, stored):
    path = tmp_path_factory.mktemp("sets") / "any.npz"
    np.savez(path, **dict(zip(("x_train", "y_train", "x_test", "y_test"), stored, strict=True)))
    with refusing():
        check(load_images(path))


@pytest.mark.parametrize("labels", [[], [0, 1]])
def test_rows_that_are_few(labels):
    with pytest.raises(InputError):
        from_arrays(np.zeros((len(labels), 3)), np.array(labels, int))
