"""DARTS genotypes: the usual text, published genotypes, and rejected texts."""

import json

import jax
import numpy as np
import pytest
from genotypes import DARTS_V2

from jaxnas.errors import InputError
from jaxnas.spaces import DARTS, check_archs, from_index, mutate, sample, to_index

RANGES = DARTS_V2.replace("[2, 3, 4, 5]", "range(2, 6)")


@pytest.mark.parametrize("text", [DARTS_V2, RANGES, f" DARTS_V2 = {DARTS_V2}\n"])
def test_published_text(text):
    arch = DARTS.parse(text)
    normal, reduce = arch.reshape(2, 4, 3).tolist()
    assert normal == [[0, 3, 3], [0, 3, 3], [0, 2, 3], [1, 2, 5]]  # the pair (0, 2) is the second one of node 5
    assert reduce == [[0, 0, 0], [2, 0, 2], [1, 0, 2], [4, 0, 2]]


def test_text_and_back():
    archs = sample(DARTS, 200, seed=0)
    np.testing.assert_array_equal([DARTS.parse(DARTS.format(arch)) for arch in archs], archs)


def test_size_and_index():
    """Each cell has 1 * 3 * 6 * 10 pairs of inputs and 7 ops on eight edges."""
    assert DARTS.size == (1 * 3 * 6 * 10 * 7**8) ** 2
    for index in (0, 1, DARTS.size - 1, 123_456_789_012_345_678):
        assert to_index(DARTS, from_index(DARTS, index)[None]).tolist() == [index]


def test_every_choice_is_drawn():
    archs = sample(DARTS, 2000, seed=1)
    for decision, choices in enumerate(DARTS.num_choices):
        counts = np.bincount(archs[:, decision], minlength=choices)
        assert len(counts) == choices
        assert counts.min() > 0.7 * 2000 / choices


def test_a_mutant_differs_in_one_decision():
    arch = sample(DARTS, 1, seed=0)[0]
    keys = jax.random.split(jax.random.key(0), 200)
    mutants = check_archs(DARTS, np.asarray(jax.vmap(lambda key: mutate(DARTS, key, arch))(keys)))
    changed = mutants != arch
    np.testing.assert_array_equal(changed.sum(axis=1), 1)
    assert (changed.any(axis=0) == (np.array(DARTS.num_choices) > 1)).all()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (DARTS_V2, "sep_conv_3x3", "is not a DARTS genotype; write it like Genotype"),
        (DARTS_V2, "Genotype(normal=__import__('os').getcwd())", "is not a DARTS genotype"),
        (DARTS_V2, "Genotype(normal=range(10**9))", "is not a DARTS genotype"),
        (DARTS_V2, "Genotype()", "has no normal cell"),
        ("reduce=", "reduction=", "has no reduce cell"),
        ("sep_conv_3x3", "sep_conv_7x7", "unknown op 'sep_conv_7x7'"),
        (
            "('dil_conv_3x3', 2)",
            "('dil_conv_3x3', 0)",
            "inputs of node 5 must be two different earlier nodes, got 0 and 0",
        ),
        ("('dil_conv_3x3', 2)", "('dil_conv_3x3', 5)", "earlier nodes, got 0 and 5"),
        ("('dil_conv_3x3', 2)", "('dil_conv_3x3', '2')", "earlier nodes, got 0 and 2"),
        (", ('dil_conv_3x3', 2)", "", "there must be 8 pairs"),
        ("normal_concat=[2, 3, 4, 5]", "normal_concat=[4, 5]", r"normal_concat must be .*, got \[4, 5\]"),
    ],
)
def test_bad_text_is_named(old, new, message):
    with pytest.raises(InputError, match=message):
        DARTS.parse(DARTS_V2.replace(old, new))


def test_genotypes_of_files():
    """As JSON writes objects and named tuples, and as NASLib encodes them: (node, op) of the pairs of both cells."""
    arch = sample(DARTS, 1, seed=3)[0]
    fields = eval(DARTS.format(arch), {"Genotype": dict})
    cells = [[(node, DARTS.op_names.index(op)) for op, node in fields[cell]] for cell in ("normal", "reduce")]
    names = ("normal", "normal_concat", "reduce", "reduce_concat")
    forms = [str(fields), json.dumps(fields), json.dumps([fields[name] for name in names])]
    forms += [str(cells), str(tuple(map(tuple, cells))), json.dumps(cells)]
    for text in forms:
        np.testing.assert_array_equal(DARTS.parse(text), arch)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[(0, 7)], []]", "is not a DARTS genotype"),
        ("[[(0, 0.5)], []]", "is not a DARTS genotype"),
        ("[[(0, 1)], [(0, 1)]]", "there must be 8 pairs"),
        ("[1, 2, 3, 4]", "is not a DARTS genotype"),
        ("[[], [], []]", "is not a DARTS genotype"),
        ("{1: 2}", "is not a DARTS genotype"),
        ("{}", "has no normal cell"),
        ("{'normal': ['a'] * 8}", "is not a DARTS genotype"),
    ],
)
def test_bad_genotypes_of_files_are_named(text, message):
    with pytest.raises(InputError, match=message):
        DARTS.parse(text)
