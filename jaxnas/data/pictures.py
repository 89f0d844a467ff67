"""Decoding pictures: any file or array becomes a float image [H W C] in [0, 1] of one size with 1 or 3 channels.

Grey pictures have 1 channel and all others 3. Transparent pixels lie on white, photographs are turned upright as their
EXIF data say, 16 bits keep their precision, and of an animation the first picture counts. Pictures that shrink are
averaged over areas, pictures that grow are interpolated bilinearly; both ignore the ratio of the sides.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float32
from PIL import Image, ImageOps, UnidentifiedImageError

from jaxnas.errors import first_line
from jaxnas.runtime.settings import check_whole

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # no format that runs another program
_DEEP = ("I", "I;16", "I;16B", "I;16L", "F")  # modes of more than 8 bits, which are all grey
_WHITE = (255, 255, 255, 255)
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)  # EXIF tag, and its values that swap width and height

# What Pillow raises on damaged files: its documentation leaves the list open, and its decoders add their own.
_DAMAGED = (
    Image.DecompressionBombError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    SyntaxError,
    TypeError,
    ValueError,
)

File: TypeAlias = str | PathLike[str] | bytes | Image.Image  # a path, the content of a file, or an open one
Source: TypeAlias = File | np.ndarray  # an array [H W] or [H W C]


class Form(NamedTuple):
    """The size and the channels of an image.

    Attributes:
      height: pixels from top to bottom, H.
      width: pixels from left to right, W.
      channels: 1 or 3, C.
    """

    height: int
    width: int
    channels: int

    def __str__(self) -> str:
        """Return text such as "32x32 RGB"."""
        return f"{self.width}x{self.height} {'grey' if self.channels == 1 else 'RGB'}"


class UnreadableError(ValueError):
    """A picture that cannot be decoded; the message is the reason."""


def form_of(source: Source) -> Form:
    """Return the form of a picture, of a file from its header alone.

    Raises:
      UnreadableError: the file is missing or no picture, or the array is no image.
    """
    if isinstance(source, np.ndarray):
        pixels = _checked_array(source)
        return Form(pixels.shape[0], pixels.shape[1], 1 if pixels.shape[2] == 1 else 3)
    with _opened(source) as picture:
        width, height = picture.size
        if picture.getexif().get(_ORIENTATION) in _TURNED:
            width, height = height, width
        return Form(height, width, 1 if _is_grey(picture) else 3)


def decode(source: Source, form: Form) -> Float32[np.ndarray, "H W C"]:
    """Return a picture in this form.

    Raises:
      UnreadableError: the file is missing, damaged or no picture, or the array is no image.
    """
    if isinstance(source, np.ndarray):
        return _in_channels(_resize_floats(_checked_array(source), form), form.channels)
    with _opened(source) as picture:
        upright = ImageOps.exif_transpose(picture)
        if upright.mode in _DEEP:
            grey = np.asarray(upright, np.float32)[..., None]
            limit = 1.0 if upright.mode == "F" and grey.max() <= 1 else 65535.0
            if not (grey.min() >= 0 and grey.max() <= limit):
                raise UnreadableError(f"values from {grey.min():g} to {grey.max():g}, not in 0 to {limit:g}")
            return _in_channels(_resize_floats(grey / np.float32(limit), form), form.channels)
        flat = _on_white(upright).convert("L" if form.channels == 1 else "RGB")
        size = (form.width, form.height)
        resized = flat if flat.size == size else flat.resize(size, _filter(flat.size, size))
        return np.asarray(resized, np.float32).reshape(form) / np.float32(255)


def resize_pixels(images: Float32[np.ndarray, "N H W C"], pixels: int) -> Float32[np.ndarray, "N pixels pixels C"]:
    """Resize images of any number of channels to `pixels` x `pixels`: by area where they shrink, else bilinearly."""
    form = Form(pixels, pixels, images.shape[-1])
    return np.stack([_resize_floats(image, form) for image in images])


@contextmanager
def _opened(source: File) -> Iterator[Image.Image]:
    """Open a file, or take a Pillow image; errors of the body are those of a damaged picture."""
    try:
        if isinstance(source, Image.Image):
            yield source
            return
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=_FORMATS) as picture:
            yield picture
    except UnreadableError:
        raise
    except UnidentifiedImageError:
        raise UnreadableError("not a picture, or damaged") from None
    except _DAMAGED as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise UnreadableError(reason) from error


def _is_grey(picture: Image.Image) -> bool:
    if picture.mode == "P":
        palette = np.array((picture.getpalette("RGB") or []), np.uint8).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return picture.mode in ("1", "L", "LA", "La", *_DEEP)


def _on_white(picture: Image.Image) -> Image.Image:
    """Return the picture without transparency, on white."""
    if not picture.has_transparency_data:
        return picture
    picture = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, _WHITE), picture)


def _filter(old: tuple[int, int], new: tuple[int, int]) -> Image.Resampling:
    shrinks = old[0] >= new[0] and old[1] >= new[1]
    return Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR  # both average over what vanishes


def _resize_floats(image: Float32[np.ndarray, "H W C"], form: Form) -> Float32[np.ndarray, "h w C"]:
    """Resize each channel in float32, and keep the channels."""
    if image.shape[:2] == form[:2]:
        return image
    size = (form.width, form.height)
    how = _filter((image.shape[1], image.shape[0]), size)
    channels = [Image.fromarray(np.ascontiguousarray(channel)) for channel in np.moveaxis(image, 2, 0)]
    return np.stack([np.asarray(channel.resize(size, how)) for channel in channels], axis=-1)


def _in_channels(image: Float32[np.ndarray, "H W c"], channels: int) -> Float32[np.ndarray, "H W C"]:
    """Return an image of 1, 3 or 4 channels, the last of which is opacity, in 1 or 3 channels."""
    if image.shape[2] == 4:
        image = image[..., :3] * image[..., 3:] + 1 - image[..., 3:]
    if image.shape[2] == channels:
        return image
    return np.repeat(image, 3, axis=2) if channels == 3 else image @ np.array([[0.299], [0.587], [0.114]], np.float32)


def _checked_array(array: np.ndarray) -> Float32[np.ndarray, "H W C"]:
    """Return an array as a float image in [0, 1] of 1, 3 or 4 channels."""
    image = array[..., None] if array.ndim == 2 else array
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or not image.size:
        raise UnreadableError(f"an image must be [H, W] or [H, W, C] with 1, 3 or 4 channels, got shape {array.shape}")
    if image.dtype in (np.uint8, np.uint16, bool):
        return image.astype(np.float32) / np.float32(1 if image.dtype == bool else np.iinfo(image.dtype).max)
    if image.dtype.kind != "f" or not (image.min() >= 0 and image.max() <= 1):  # NaN fails too
        raise UnreadableError(
            f"an image must be uint8, uint16 or floats in [0, 1], got {image.dtype} from {image.min()} to "
            f"{image.max()}: leave normalisation out, `standardize` does it"
        )
    return image.astype(np.float32)


def check_pixels(pixels: int | None) -> None:
    """Raise InputError unless `pixels` is None or a possible side of an image."""
    if pixels is not None:
        check_whole("pixels", pixels, 1, 4096)
