"""Assemble labelled pictures of any source to an image set of one size and mode, split by class."""

import warnings
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from jaxnas.data.images import ImageData, from_arrays
from jaxnas.data.pictures import Form, Source, UnreadableError, check_pixels, decode, form_of
from jaxnas.errors import InputError
from jaxnas.runtime.events import Event, Listener, Noted
from jaxnas.runtime.host import num_cores

LARGEST_KEPT = 64  # pixels: images of one size up to this side keep it
DEFAULT_PIXELS = 32  # of larger images, and of images of different sizes
NAMED = 5  # skipped files that a message names

SHOWN = 10  # names of classes that a message shows


class Example(NamedTuple):
    """One labelled picture.

    Attributes:
      where: its file, or its place in a data set, for messages.
      picture: see `jaxnas.data.pictures.Source`.
      label: its class, a text or a number; None if it has none.
      is_test: whether it belongs to the test set.
    """

    where: str
    picture: Source
    label: Hashable
    is_test: bool = False


def warn_of_skipped(event: Event) -> None:
    """Warn of what was skipped; ignore all other events."""
    if isinstance(event, Noted) and event.is_warning:
        warnings.warn(event.message, stacklevel=4)


def assemble(
    examples: Iterable[Example],
    name: str,
    class_names: Sequence[str] = (),
    pixels: int | None = None,
    on_event: Listener = warn_of_skipped,
) -> ImageData:
    """Decode examples into an image set.

    Classes are numbered in the order of `class_names`, else in that of their labels. Images of one size of at most
    `LARGEST_KEPT` pixels keep it; all others become `DEFAULT_PIXELS` x `DEFAULT_PIXELS`. Images of colour make all
    images RGB. Without test examples every fifth image of each class becomes a test image.

    Args:
      examples: labelled pictures, in an order that is the same in every call.
      name: name for messages and provenance.
      class_names: the classes, where their names or number are known apart from the labels; a label is one of them or
        its position.
      pixels: side of the images; None for the rule above.
      on_event: receives a `Noted` on the size and mode, and one on skipped pictures; default: warn of the latter.

    Raises:
      InputError: no picture can be read, a class has none, or there are fewer than two classes.
    """
    check_pixels(pixels)
    examples = list(examples)
    labelled = [example for example in examples if example.label is not None]
    if not labelled:
        raise InputError(f"{name}: no labelled images; a label must be a text or a whole number")
    with ThreadPoolExecutor(num_cores()) as threads:
        forms = list(threads.map(_try_form, labelled))
        sizes = Counter(form for form in forms if isinstance(form, Form))
        chosen = _choose_form(sizes, pixels) if sizes else Form(1, 1, 1)
        todo = [example if isinstance(form, Form) else form for example, form in zip(labelled, forms, strict=True)]
        decoded = list(threads.map(lambda one: _try_decode(one, chosen), todo))
    skipped = [(example, image) for example, image in zip(labelled, decoded, strict=True) if isinstance(image, str)]
    pairs = [(example, image) for example, image in zip(labelled, decoded, strict=True) if not isinstance(image, str)]
    _note_skipped(skipped, len(labelled), name, on_event)
    names, number_of = _number_classes([example.label for example in labelled], class_names, name)
    labels = np.array([number_of[example.label] for example, _ in pairs], np.int32)
    _check_classes(labels, names, name)
    images, tests = np.stack([image for _, image in pairs]), np.array([example.is_test for example, _ in pairs])
    test = (images[tests], labels[tests]) if tests.any() else (None, None)
    data = from_arrays(images[~tests], labels[~tests], *test, name=name, class_names=names, channels_first=False)
    left_out = len(examples) - len(labelled)
    hint = f"; {left_out:,} pictures without a label are left out" if left_out else ""
    on_event(Noted(_describe(data, chosen, sizes) + hint))
    return data


def _try_form(example: Example) -> Form | str:
    """Return the form of a picture, or why it has none."""
    try:
        return form_of(example.picture)
    except UnreadableError as error:
        return str(error)


def _try_decode(example: Example | str, form: Form) -> Float32[np.ndarray, "H W C"] | str:
    """Return the pixels of a picture, or why it has none."""
    if isinstance(example, str):
        return example
    try:
        return decode(example.picture, form)
    except UnreadableError as error:
        return str(error)


def _choose_form(sizes: Counter[Form], pixels: int | None) -> Form:
    """Return the form that images of these forms get."""
    channels = max(form.channels for form in sizes)
    if pixels is not None:
        return Form(pixels, pixels, channels)
    found = {form[:2] for form in sizes}
    if len(found) == 1 and max(size := found.pop()) <= LARGEST_KEPT:
        return Form(*size, channels)
    return Form(DEFAULT_PIXELS, DEFAULT_PIXELS, channels)


def _number_classes(
    labels: Sequence[Hashable], class_names: Sequence[str], name: str
) -> tuple[list[str], dict[Hashable, int]]:
    """Return the names of the classes, and the number of each label.

    Whole numbers are sorted by value and texts alphabetically.
    """
    found = set(labels)
    if class_names:
        names = list(map(str, class_names))
        positions: dict[Hashable, int] = {position: position for position in range(len(names))}
        positions.update((text, position) for position, text in enumerate(names))
        if unknown := [label for label in found if label not in positions]:
            raise InputError(f"{name}: label {unknown[0]!r} is not one of the classes {', '.join(names)}")
        return names, {label: positions[label] for label in found}
    numeric = all(isinstance(label, int) for label in found)
    ordered = sorted(found) if numeric else sorted(found, key=str)  # type: ignore[type-var]
    return list(map(str, ordered)), {label: position for position, label in enumerate(ordered)}


def _check_classes(labels: np.ndarray, names: Sequence[str], source: str) -> None:
    """Raise InputError if there are fewer than two classes, or one is without images."""
    counts = np.bincount(labels, minlength=len(names))
    if empty := [name for name, count in zip(names, counts, strict=True) if not count]:
        raise InputError(f"{source}: class {empty[0]!r} has no readable image: add images, or remove the class")
    if len(names) < 2:
        raise InputError(f"{source}: at least two classes are needed, got {len(names)} ({', '.join(names)})")


def _note_skipped(skipped: Sequence[tuple[Example, str]], total: int, name: str, on_event: Listener) -> None:
    if not skipped:
        return
    files = [f"{example.where} ({reason})" for example, reason in islice(skipped, NAMED)]
    more = f", and {len(skipped) - NAMED} more" if len(skipped) > NAMED else ""
    message = f"{len(skipped)} of {total} images of {name} cannot be read: {', '.join(files)}{more}"
    if len(skipped) == total:
        raise InputError(message)
    on_event(Noted(f"{message}; skipped", is_warning=True))


def _describe(data: ImageData, form: Form, sizes: Counter[Form]) -> str:
    """Return one line with the numbers of images and classes, their form, and what was done to reach it."""
    counts = f"{len(data.train_labels):,} training and {len(data.test_labels):,} test images"
    names = ", ".join([*data.class_names[:SHOWN], *(["..."] if data.num_classes > SHOWN else [])])
    text = f"{data.name}: {counts} of {data.num_classes} classes ({names}), {form}"
    if set(sizes) == {form}:
        return text
    areas = sorted(sizes, key=lambda one: (one.height * one.width, one))
    smallest, largest = areas[0], areas[-1]
    before = str(smallest) if len(sizes) == 1 else f"{smallest} to {largest}"
    sized = any(one[:2] != form[:2] for one in sizes)
    return f"{text} ({'resized' if sized else 'converted'} from {before}{'; `pixels` sets the size' if sized else ''})"
