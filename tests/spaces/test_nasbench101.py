"""The space of NAS-Bench-101: its size, its order and its classes against the published hash, texts, changes."""

from hashlib import md5
from itertools import product

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnas.errors import InputError
from jaxnas.spaces import NASBENCH101, check_archs, enumerate_archs, from_index, mutate, sample, to_index
from jaxnas.spaces.cell_graphs import EDGES, neighbours
from jaxnas.spaces.nasbench101 import OP_NAMES, to_matrix

THREE = "conv3x3-bn-relu~0|conv1x1-bn-relu~0~1|maxpool3x3~1|output~0~2~3"


def published_hash(matrix, labels):
    """Return the hash of the benchmark's authors: labels and degrees, then V rounds over both kinds of neighbours."""
    matrix = np.asarray(matrix)
    vertices = range(len(matrix))
    degrees = zip(matrix.sum(1).tolist(), matrix.sum(0).tolist(), labels, strict=True)
    hashes = [md5(str(one).encode()).hexdigest() for one in degrees]
    for _ in vertices:
        into = ["".join(sorted(hashes[w] for w in vertices if matrix[w, v])) for v in vertices]
        out = ["".join(sorted(hashes[w] for w in vertices if matrix[v, w])) for v in vertices]
        hashes = [md5(f"{into[v]}|{out[v]}|{hashes[v]}".encode()).hexdigest() for v in vertices]
    return md5(str(sorted(hashes)).encode()).hexdigest()


def hash_of(arch):
    matrix, ops = to_matrix(arch)
    return published_hash(matrix, [-1, *(OP_NAMES.index(op) for op in ops[1:-1]), -2])


def published_list(most):
    """Yield matrix and labels of the cells of at most so many vertices, in the order of the authors' program."""
    seen = set()
    for size in range(2, most + 1):
        for bits in range(2 ** (size * (size - 1) // 2)):
            matrix = np.zeros((size, size), int)
            for target in range(size):
                for source in range(target):
                    matrix[source, target] = bits >> (source + target * (target - 1) // 2) & 1
            if not (matrix[:-1].any(1).all() and matrix[:, 1:].any(0).all() and matrix.sum() <= 9):
                continue
            for labels in product(range(3), repeat=size - 2):
                digest = published_hash(matrix, [-1, *labels, -2])
                if digest not in seen:
                    seen.add(digest)
                    yield matrix, labels


def test_published_size():
    """Ying et al. 2019: 423,624 cells."""
    assert NASBENCH101.size == 423_624


def test_the_first_cells_are_those_of_the_authors_program():
    expected = list(published_list(4))
    assert len(expected) == 1 + 6 + 84
    for (matrix, labels), arch in zip(expected, from_index(NASBENCH101, np.arange(len(expected))), strict=True):
        found, ops = to_matrix(arch)
        assert np.array_equal(found, matrix)
        assert ops[1:-1] == [OP_NAMES[label] for label in labels]


@pytest.mark.slow
def test_the_first_2532_cells_are_those_of_the_authors_program():
    expected = list(published_list(5))
    assert len(expected) == 2532
    archs = from_index(NASBENCH101, np.arange(2532))
    assert all(np.array_equal(to_matrix(arch)[0], matrix) for (matrix, _), arch in zip(expected, archs, strict=True))
    assert [hash_of(arch) for arch in archs] == [published_hash(m, [-1, *labels, -2]) for m, labels in expected]


@settings(max_examples=40, deadline=None)
@given(index=st.integers(0, 423_623), order=st.permutations(range(1, 6)), seed=st.integers(0, 2**32 - 1))
def test_numbers_of_vertices_do_not_matter(index, order, seed):
    """Another numbering, and vertices that lead nowhere, give the same architecture and the same published hash."""
    arch = from_index(NASBENCH101, index)
    matrix, ops = to_matrix(arch)
    whole = np.zeros((7, 7), int)
    kept = [*range(len(ops) - 1), 6]
    whole[np.ix_(kept, kept)] = matrix
    numbers = [*(OP_NAMES.index(op) for op in ops[1:-1]), *[0] * (7 - len(ops))]
    moved = np.zeros((7, 7), int)
    place = [0, *order, 6]
    for source, target in zip(*np.nonzero(whole), strict=True):
        moved[place[source], place[target]] = 1
    if np.tril(moved).any():
        return
    labels = [0] * 5
    for vertex, number in enumerate(numbers, start=1):
        labels[place[vertex] - 1] = number
    unused = np.random.default_rng(seed)
    for vertex in range(1, 6):
        if not moved[vertex].any() and not moved[:, vertex].any():  # fed, but leads nowhere
            moved[:vertex, vertex] = unused.integers(0, 2, vertex)
            labels[vertex - 1] = int(unused.integers(0, 3))
    vector = np.array([[*(moved[edge] for edge in EDGES), *labels]], np.int8)
    np.testing.assert_array_equal(NASBENCH101.canonicalize(vector)[0], arch)
    text = f"{moved.tolist()}, {['input', *(OP_NAMES[label] for label in labels), 'output']}"
    np.testing.assert_array_equal(NASBENCH101.parse(f"[{text}]"), arch)


def test_different_architectures_have_different_hashes():
    archs = sample(NASBENCH101, 400, seed=1)
    assert len({hash_of(arch) for arch in archs}) == 400


def test_texts():
    arch = NASBENCH101.parse(THREE)
    assert NASBENCH101.format(arch) == THREE
    as_lists = "[[[0,1,1,0,1],[0,0,1,1,0],[0,0,0,0,1],[0,0,0,0,1],[0,0,0,0,0]],"
    as_lists += "['input', 'conv3x3-bn-relu', 'conv1x1-bn-relu', 'maxpool3x3', 'output']]"
    assert NASBENCH101.parse(as_lists).tolist() == arch.tolist()
    row = "(0,1,1,0,1, 0,0,1,1,0, 0,0,0,0,1, 0,0,0,0,1, 0,0,0,0,0, 0,4,3,2,1)"
    assert NASBENCH101.parse(row).tolist() == arch.tolist()
    assert NASBENCH101.format(from_index(NASBENCH101, 0)) == "output~0"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("conv3x3-bn-relu~0|output~2", "vertex 2 must have different earlier vertices"),
        ("conv3x3-bn-relu~0~0|output~1", "must have different earlier vertices"),
        ("conv9x9~0|output~1", "unknown op 'conv9x9'"),
        ("conv3x3-bn-relu~0|maxpool3x3~1", "must begin with 'input' and end with 'output'"),
        ("conv3x3-bn-relu~0|output", "must have a path from input to output"),
        ("|".join(["maxpool3x3~0"] * 6 + ["output~1"]), "from 2 to 7 vertices, got 8"),
        ("maxpool3x3~0|maxpool3x3~0~1|maxpool3x3~0~1~2|output~0~1~2~3", "at most 9 edges, got 10"),
        ("[[0, 1], [1, 0]], ['input', 'output']", "1 above the diagonal alone"),
        ("[[0, 1], [0]], ['input', 'output']", "must have a matrix of 2 rows"),
        ("[1, 2, 3]", "must be a matrix and a list of ops"),
        ("|nor_conv_3x3~0|+|none~0|none~1|", "is not a NAS-Bench-101 cell"),
        ("0123456789abcdef0123456789abcdef", "is a hash"),
        (7, "must be a string"),
    ],
)
def test_texts_that_are_no_cell(text, message):
    with pytest.raises(InputError, match=message):
        NASBENCH101.parse(text)


def test_vectors_that_are_no_architecture():
    vector = np.zeros((1, 26), np.int8)
    with pytest.raises(InputError, match="must have a path from input to output"):
        NASBENCH101.canonicalize(vector)
    with pytest.raises(InputError, match="must have at most 9 edges, got 21"):
        NASBENCH101.canonicalize(vector + (np.arange(26) < 21).astype(np.int8))
    swapped = NASBENCH101.parse(THREE)[None].copy()
    swapped[0, -1] = 1  # the op of a vertex without edges
    with pytest.raises(InputError, match="is not in space 'nasbench101'"):
        check_archs(NASBENCH101, swapped)


def test_a_change_leads_back_unless_it_drops_a_vertex():
    """Neighbours of a cell of seven vertices that have seven too have it as a neighbour."""
    archs = sample(NASBENCH101, 60, seed=2)
    pairs = 0
    for arch in archs:
        members, valid = neighbours(arch)
        for other in check_archs(NASBENCH101, members[valid].astype(np.int8))[:4]:
            if len(to_matrix(arch)[1]) == len(to_matrix(other)[1]):
                back, fits = neighbours(other)
                assert (back[fits] == arch).all(axis=1).any()
                pairs += 1
    assert pairs > 100


def test_mutants_reach_more_and_fewer_vertices():
    arch = NASBENCH101.parse(THREE)
    mutants = np.asarray(jax.vmap(lambda key: mutate(NASBENCH101, key, arch))(jax.random.split(jax.random.key(0), 300)))
    check_archs(NASBENCH101, mutants)
    assert {len(to_matrix(mutant)[1]) for mutant in mutants} == {3, 4, 5, 6}
    assert not (mutants == arch).all(axis=1).any()


@pytest.mark.data
def test_cells_of_a_public_sample(data_folder):
    """10,250 rows of NAS-Bench-Suite-Zero are as many architectures; 500 others repeat some cells."""
    with np.load(data_folder / "nb101" / "nb101_sample.npz") as file:
        rows = [row.decode() for row in file["zen_encoding"]]
        vectors = file["encoding"]
    archs = np.stack([NASBENCH101.parse(row) for row in rows[:2000]])
    assert len(np.unique(to_index(NASBENCH101, archs))) == 2000
    matrices = vectors[:, :49].reshape(-1, 7, 7)
    edges = np.stack([matrices[:, source, target] for source, target in EDGES], axis=1)
    own = NASBENCH101.canonicalize(np.concatenate([edges, np.maximum(4 - vectors[:, 50:55], 0)], axis=1))
    assert len(np.unique(own, axis=0)) == 292
    parsed = NASBENCH101.parse(str(tuple(vectors[0].tolist())))
    np.testing.assert_array_equal(parsed, own[0])


def test_all_architectures_are_canonical():
    archs = enumerate_archs(NASBENCH101)[::50]
    np.testing.assert_array_equal(NASBENCH101.canonicalize(archs), archs)
