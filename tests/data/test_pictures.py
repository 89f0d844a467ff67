"""Decoding pictures of every mode, depth, orientation and size."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from jaxnas.data.pictures import Form, UnreadableError, decode, form_of, resize_pixels
from jaxnas.errors import InputError


def encoded(picture, kind="PNG", **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def as_is(source):
    return decode(source, form_of(source))


COLOURS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
GREYS = COLOURS[..., 0]


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF", "PPM"])
def test_lossless_formats_keep_every_pixel(kind):
    content = encoded(Image.fromarray(COLOURS), kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert form_of(content) == Form(6, 8, 3)
    np.testing.assert_array_equal(as_is(content), COLOURS / np.float32(255))


def test_a_jpeg_is_close():
    smooth = np.broadcast_to(np.linspace(0, 255, 32, dtype=np.uint8)[:, None, None], (32, 32, 3))
    assert abs(as_is(encoded(Image.fromarray(smooth.copy()), "JPEG", quality=95)) - smooth / 255).max() < 0.03


def test_grey_stays_grey_and_fits_colour():
    content = encoded(Image.fromarray(GREYS))
    assert form_of(content) == Form(6, 8, 1)
    np.testing.assert_array_equal(as_is(content)[..., 0], GREYS / np.float32(255))
    np.testing.assert_array_equal(decode(content, Form(6, 8, 3)), np.repeat(as_is(content), 3, axis=2))


def test_16_bits_keep_their_precision():
    deep = np.arange(48, dtype=np.uint16).reshape(6, 8) + 1000
    content = encoded(Image.fromarray(deep))
    assert form_of(content).channels == 1
    np.testing.assert_allclose(as_is(content)[..., 0], deep / 65535, rtol=1e-6)
    assert len(np.unique(as_is(content))) == 48


@pytest.mark.parametrize("colours", [True, False])
def test_a_palette_is_looked_up(colours):
    indexed = Image.fromarray(GREYS % 4).convert("P")
    indexed.putdata((GREYS % 4).ravel().tolist())
    palette = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9)] if colours else [(n, n, n) for n in (0, 80, 160, 240)]
    indexed.putpalette([value for colour in palette for value in colour])
    content = encoded(indexed)
    assert form_of(content).channels == (3 if colours else 1)
    np.testing.assert_allclose(
        as_is(content) * 255, np.array(palette)[GREYS % 4][..., : form_of(content).channels], 1e-5
    )


def test_transparent_pixels_lie_on_white():
    layers = np.dstack([COLOURS, np.zeros((6, 8), np.uint8)])
    layers[0, :, 3] = 255
    image = as_is(encoded(Image.fromarray(layers)))
    np.testing.assert_array_equal(image[0], COLOURS[0] / np.float32(255))
    assert (image[1:] == 1).all()
    assert form_of(layers) == Form(6, 8, 3)
    np.testing.assert_allclose(as_is(layers), image, atol=1 / 255)


@pytest.mark.parametrize(("orientation", "turn"), [(1, 0), (3, 2), (6, -1), (8, 1)])
def test_photographs_are_upright(orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(Image.fromarray(COLOURS), exif=exif)
    upright = np.rot90(COLOURS, turn)
    assert form_of(content)[:2] == upright.shape[:2]
    np.testing.assert_array_equal(as_is(content), upright / np.float32(255))


def test_shrinking_averages_areas():
    content, form = encoded(Image.fromarray(COLOURS)), Form(3, 4, 3)
    areas = COLOURS.reshape(3, 2, 4, 2, 3).mean((1, 3))
    np.testing.assert_allclose(decode(content, form) * 255, areas, atol=1.01)  # 8 bits, rounded in each direction
    np.testing.assert_allclose(decode(COLOURS, form) * 255, areas, rtol=1e-5)  # of an array


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3, 4]))
def test_a_constant_image_stays_constant_at_any_size(height, width, pixels, channels):
    images = np.full((2, height, width, channels), 0.25, np.float32)
    np.testing.assert_allclose(resize_pixels(images, pixels), np.full((2, pixels, pixels, channels), 0.25), atol=1e-6)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"", "not a picture"),
        (b"no picture at all", "not a picture"),
        (encoded(Image.fromarray(COLOURS))[:60], "truncated|broken|cut|damaged"),
        (np.zeros((2, 3, 7), np.uint8), "1, 3 or 4 channels"),
        (np.full((2, 3), 1.5), "leave normalisation out"),
        (np.full((2, 3), np.nan), "floats in"),
        (np.zeros((2, 3), np.int64), "must be uint8"),
    ],
)
def test_what_is_no_picture_has_a_reason(source, message):
    with pytest.raises(UnreadableError, match=message):
        decode(source, Form(4, 4, 3))


def test_a_missing_file_has_a_reason(tmp_path):
    with pytest.raises(UnreadableError, match="No such file"):
        form_of(tmp_path / "a.png")


def test_a_size_out_of_range_is_refused():
    from jaxnas.data.pictures import check_pixels

    for wrong in (0, 5000):
        with pytest.raises(InputError, match="`pixels` must be from 1 to 4096"):
            check_pixels(wrong)
