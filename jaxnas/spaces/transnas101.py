"""TransNAS-Bench-101: a cell search space (micro, 4,096) and one of network skeletons (macro, 3,256).

An official string is the stem's channels, the skeleton's modules and the cell, such as "64-41414-3_33_333" or
"64-1423-basic". A module's digit: 1 leaves the shape, 2 doubles the channels, 3 halves height and width, 4 does both.

Source: Duan et al. 2021 (arXiv:2105.11871). The official list of all 7,352 has the macro architectures first; here each
space counts from 0 in the same order.
"""

import itertools
import re
from functools import cache

import numpy as np
from jaxtyping import Int8, Int32, Int64

from jaxnas.errors import InputError
from jaxnas.spaces.cell import EDGES, Archs, drop_dead_edges, parse_naslib
from jaxnas.spaces.space import SearchSpace, check_archs, tidy, to_index

OP_NAMES = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3")
MICRO_SKELETON = "64-41414"
NUM_MODULES = (4, 5, 6)
NUM_DOUBLINGS, NUM_STRIDES = (1, 2, 3), (1, 2, 3, 4)
DOUBLES, HALVES = (2, 4), (3, 4)  # digits of modules


def parse_micro(text: object) -> Int8[np.ndarray, "6"]:
    """Return the architecture [6] of a text like '64-41414-3_33_333': the ops into nodes 1, 2 and 3, by source.

    Six numbers in brackets, such as '(2, 0, 3, 1, 2, 3)', are an architecture as NASLib and NAS-Bench-Suite-Zero
    (arXiv:2210.03230) encode it.

    Raises:
        InputError: The text has another form, or an op is outside 0 to 3.
    """
    plain = tidy(text)
    if (arch := parse_naslib(plain, OP_NAMES)) is not None:
        return arch
    if not re.fullmatch(MICRO_SKELETON + "-[0-3]_[0-3]{2}_[0-3]{3}", plain, re.ASCII):
        raise InputError(
            f"architecture {text!r:.80} is not a TransNAS-Bench-101 micro cell; "
            f"write it like '{MICRO_SKELETON}-3_33_333', ops 0 to {len(OP_NAMES) - 1}"
        )
    return np.array([int(digit) for digit in plain[len(MICRO_SKELETON) + 1 :] if digit != "_"], np.int8)


def format_micro(arch: Int8[np.ndarray, "6"]) -> str:
    """Return the official text of one architecture [6]; the inverse of `parse_micro`.

    Raises:
        InputError: See `check_archs`.
    """
    a, b, c, d, e, f = check_archs(TRANSNAS101_MICRO, np.asarray(arch)[None])[0]
    return f"{MICRO_SKELETON}-{a}_{b}{c}_{d}{e}{f}"


def canonicalize_micro(archs: Archs) -> Archs:
    """Return `archs` [A 6] in which every dead edge is none: one on no path of non-none edges from input to output.

    Idempotent; 2,128 architectures are fixed points.

    Raises:
        InputError: See `check_archs`.
    """
    return drop_dead_edges(check_archs(TRANSNAS101_MICRO, archs))


def network_class_micro(archs: Archs) -> Int32[np.ndarray, " A"]:
    """Return for each of `archs` [A 6] the index of the cell without its dead edges.

    No other cells are equal, as a skip is not the identity where a cell halves the image.

    Raises:
        InputError: See `check_archs`.
    """
    return to_index(TRANSNAS101_MICRO, canonicalize_micro(archs)).astype(np.int32)


def parse_macro(text: object) -> Int8[np.ndarray, "6"]:
    """Return the architecture [6] of a text like '64-1423-basic': its modules, followed by 0 for those it lacks.

    Raises:
        InputError: The text has another form, or the skeleton is outside the space.
    """
    plain = tidy(text)
    if not re.fullmatch("64-[1-4]+-basic", plain, re.ASCII):
        raise InputError(
            f"architecture {text!r:.80} is not a TransNAS-Bench-101 macro skeleton; "
            "write it like '64-1423-basic', 4 to 6 modules 1 to 4"
        )
    modules = [int(digit) for digit in plain.split("-")[1]]
    arch = np.zeros((1, max(NUM_MODULES)), np.int8)
    if len(modules) <= arch.shape[1]:
        arch[0, : len(modules)] = modules
    checked: np.ndarray = check_archs(TRANSNAS101_MACRO, arch)[0]
    return checked


def format_macro(arch: Int8[np.ndarray, "6"]) -> str:
    """Return the official text of one architecture [6]; the inverse of `parse_macro`.

    Raises:
        InputError: See `check_archs`.
    """
    modules = check_archs(TRANSNAS101_MACRO, np.asarray(arch)[None])[0]
    return f"64-{''.join(str(module) for module in modules if module)}-basic"


def _check_only(archs: Archs) -> Archs:
    """Return `archs` unchanged: every module of a skeleton has an effect."""
    return check_archs(TRANSNAS101_MACRO, archs)


def _index_class(archs: Archs) -> Int32[np.ndarray, " A"]:
    """Return the index of each architecture: no two skeletons are the same network."""
    return to_index(TRANSNAS101_MACRO, archs).astype(np.int32)


@cache
def _macro_order() -> Int64[np.ndarray, " A"]:
    """Return the mixed-radix number at each index.

    The order is by the number of modules, of doublings, of strides, then by the places of the doublings and strides.
    """
    numbers = []
    for num_modules, num_doublings, num_strides in itertools.product(NUM_MODULES, NUM_DOUBLINGS, NUM_STRIDES):
        places = range(num_modules)
        doublings, strides = itertools.combinations(places, num_doublings), itertools.combinations(places, num_strides)
        for doubled, halved in itertools.product(doublings, strides):
            modules = [1 + (place in doubled) + 2 * (place in halved) for place in places]
            modules += [0] * (max(NUM_MODULES) - num_modules)
            numbers.append(np.ravel_multi_index(modules, (5,) * max(NUM_MODULES)))
    return np.array(numbers)


TRANSNAS101_MICRO = SearchSpace(
    name="transnas101-micro",
    op_names=OP_NAMES,
    num_choices=(len(OP_NAMES),) * len(EDGES),
    parse=parse_micro,
    format=format_micro,
    canonicalize=canonicalize_micro,
    network_class=network_class_micro,
)

TRANSNAS101_MACRO = SearchSpace(
    name="transnas101-macro",
    op_names=("absent", "plain", "doubles", "halves", "doubles and halves"),
    num_choices=(5,) * max(NUM_MODULES),
    parse=parse_macro,
    format=format_macro,
    canonicalize=_check_only,
    network_class=_index_class,
    index_order=_macro_order,
)
